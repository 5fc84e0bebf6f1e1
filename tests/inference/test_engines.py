"""Every engine gives what torch gives; what a file says of itself; which engine is chosen and remembered."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from crosscam.data.resizing import prepare
from crosscam.errors import EngineError
from crosscam.inference.engines import autotune, registry
from crosscam.inference.engines.autotune import Measurement, choose_engine, remember, remembered
from crosscam.inference.engines.base import (
    ModelCard,
    card_from_texts,
    card_to_texts,
    fingerprint_of,
    in_batches_of,
    num_threads,
    runtime,
)
from crosscam.inference.engines.graph import PixelsToDescriptors, RowsToDescriptors
from crosscam.inference.engines.onnx_engine import OnnxEngine, batches_of, neighbor_agreement
from crosscam.inference.engines.registry import EngineSpec, Network, candidates, open_engine, write_int8
from crosscam.inference.engines.torch_engine import TorchEngine, fused
from crosscam.inference.exporting import drawn_noise
from crosscam.inference.extractor import Extractor
from crosscam.models.output import describe
from crosscam.models.systems import layout_of
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings
from small_models import tiny_rrid

SMALL = [
    "name=small",
    "model.backbone=basic:stem=8,planes=8.8.16.16,out=8.8.16.16,depths=1.1.1.1",
    "model.scales=2",
    "model.dim=8",
    "data.height=64",
    "data.width=32",
]


def small_recipe() -> Recipe:
    return with_settings(find_recipe("demo"), SMALL)


def warmed(recipe: Recipe) -> nn.Module:
    """Random weights, and batch normalization that is not at its start."""
    torch.manual_seed(2)
    model = build_model(recipe, 0)
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(8, 3, recipe.data.height, recipe.data.width))
    return model.eval()


@pytest.fixture(scope="module", params=[True, False], ids=["mirrored", "plain"])
def network(request: pytest.FixtureRequest) -> Network:
    recipe = small_recipe()
    model = warmed(recipe)
    layout = layout_of(model)
    flip = bool(request.param)
    card = ModelCard(fingerprint_of(model, 64, 32, layout, flip=flip), layout, recipe, flip, version="test")
    return Network(model, card, int8_images=drawn_noise(32, card.size))


PIXELS = drawn_noise(7, (64, 32))


def flipped(data: bytes) -> bytes:
    """The file with one bit changed in the middle of its numbers."""
    place = data.index(b"conv") + len(data) // 3
    return data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :]


def by_hand(network: Network) -> np.ndarray:
    with torch.inference_mode():
        images = prepare(torch.from_numpy(PIXELS), 64, 32)
        return describe(network.model, images, flip=network.card.flip).numpy()


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("torch", 0.999999),
        ("torch-bf16", 0.998),
        ("onnxruntime", 0.99999),
        ("openvino", 0.99999),
        ("openvino-bf16", 0.998),
        ("onnxruntime-int8", 0.98),
        ("openvino-int8", 0.98),
    ],
)
def test_each_engine_gives_the_network_s_descriptors(network: Network, name: str, least: float) -> None:
    before = {k: v.clone() for k, v in network.model.state_dict().items()}
    engine = open_engine(name, network)
    found = engine(PIXELS)
    assert engine.name == name
    assert found.shape == (7, network.card.dim)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    expected = by_hand(network)
    agreement = (found * expected).sum(axis=1)
    assert agreement.min() > least
    # One image alone and many at once, and a result that a later call leaves alone.
    alone = engine(PIXELS[3:4])
    np.testing.assert_allclose(alone, found[3:4], atol=0.02)
    np.testing.assert_array_equal((found * expected).sum(axis=1), agreement)
    assert all(torch.equal(v, before[k]) for k, v in network.model.state_dict().items())
    # The comparison can fail: other images have other descriptors.
    assert (np.roll(found, 1, axis=0) * expected).sum(axis=1).min() < 0.98


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["osnet", "hacnn", "rrid-mini", "aligned-reid", "deep-person", "svdnet", "hpm", "mgn"])
def test_every_kind_of_network_runs_in_every_runtime_with_any_number_of_images(name: str, engine: str) -> None:
    """HA-CNN's graph took two images alone (OpenVINO then gave what lay in memory); OSNet's did not open there."""
    sizes = {
        "hacnn": ["data.height=160", "data.width=64"],
        "hpm": ["data.height=128", "data.width=32"],
        "mgn": ["data.height=192", "data.width=32"],
        "deep-person": ["data.height=256", "data.width=32"],
        "aligned-reid": ["data.height=256", "data.width=32"],
        "svdnet": ["data.height=64", "data.width=32", "model.dim=16"],
    }.get(name, ["data.height=64", "data.width=32"])
    small = ["model.backbone=basic:stem=8,planes=8.8.16.16,out=8.8.16.16,depths=1.1.1.1"]
    narrow = {"osnet": ["model.width=0.25"], "hacnn": [], "rrid-mini": []}.get(name, small)
    recipe = with_settings(find_recipe(name), [*sizes, *narrow])
    torch.manual_seed(0)
    model = build_model(recipe, 0, pretrained=False).eval()
    size = recipe.data.height, recipe.data.width
    layout = layout_of(model)
    card = ModelCard(fingerprint_of(model, *size, layout, flip=False), layout, recipe, False, version="test")
    opened = open_engine(engine, Network(model, card))
    pixels = drawn_noise(3, size)
    found = opened(pixels)
    with torch.no_grad():
        expected = describe(model, prepare(torch.from_numpy(pixels), *size), flip=False).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_writing_a_graph_leaves_the_network_in_evaluation_mode(network: Network, tmp_path: Path) -> None:
    registry.write_fp32(network, tmp_path / "m.onnx")
    assert not any(m.training for m in network.model.modules())


def test_int8_is_not_fp32(network: Network) -> None:
    plain, rounded = (open_engine(name, network)(PIXELS) for name in ("onnxruntime", "onnxruntime-int8"))
    assert np.abs(plain - rounded).max() > 1e-4


def test_int8_is_computed_without_overflow_on_every_processor(network: Network, tmp_path: Path) -> None:
    """Weights of eight bits overflow the sums of processors without instructions for int8: cosines of 0.997."""
    path = tmp_path / "int8.onnx"
    write_int8(network, path)
    written = onnx.load(path)
    weights = [numpy_helper.to_array(w) for w in written.graph.initializer if w.data_type == onnx.TensorProto.INT8]
    assert max(np.abs(w.astype(int)).max() for w in weights) == 64
    expected = ReferenceEvaluator(written).run(None, {"images": PIXELS})[0]
    assert (OnnxEngine(path)(PIXELS) * expected).sum(axis=1).min() > 0.99999


def test_int8_that_is_far_off_is_refused(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """One descriptor of 32 is wrong."""
    run = OnnxEngine.__call__

    def wrong(self: OnnxEngine, pixels: np.ndarray) -> np.ndarray:
        rows = run(self, pixels)
        rows[5] = np.roll(rows[5], 1)
        return rows

    monkeypatch.setattr(OnnxEngine, "__call__", wrong)
    with pytest.raises(EngineError, match=r"onnxruntime-int8 does not give .*the smallest cosine is 0\.\d+, expected"):
        open_engine("onnxruntime-int8", network)
    assert open_engine("onnxruntime", network).name == "onnxruntime"


def test_weights_that_are_not_finite_are_told_before_a_runtime_takes_them_for_zeros(network: Network) -> None:
    spoilt = copy.deepcopy(network.model)
    with torch.no_grad():
        next(spoilt.parameters()).view(-1)[0] = torch.nan
    for name in ("onnxruntime", "openvino", "onnxruntime-int8"):
        with pytest.raises(EngineError, match=r"The weights \S+ of \S+ are not finite"):
            open_engine(name, replace(network, model=spoilt))


def test_a_network_without_descriptors_is_left_to_torch(network: Network) -> None:
    spoilt = copy.deepcopy(network.model)
    with torch.no_grad():
        for value in spoilt.parameters():
            value.zero_()
    assert choose_engine(replace(network, model=spoilt), PIXELS)[0].name == "torch"


def test_int8_needs_images(network: Network) -> None:
    for images in (None, PIXELS[:0]):
        with pytest.raises(EngineError, match="takes its ranges from images"):
            open_engine("onnxruntime-int8", replace(network, int8_images=images))


def test_unknown_engines_and_missing_runtimes_are_told_in_one_line(network: Network) -> None:
    with pytest.raises(ValueError, match="Did you mean onnxruntime"):
        open_engine("onnxruntim", network)
    with pytest.raises(EngineError, match=r"needs nowhere_at_all, .*: pip install 'crosscam\[export\]'"):
        runtime("nowhere_at_all.part")
    with pytest.raises(EngineError, match="runs on the CPU; the device is cuda"):
        open_engine("openvino", replace(network, device="cuda"))


def test_fusing_leaves_no_batch_normalization_behind_a_convolution() -> None:
    model = warmed(small_recipe())
    copied = fused(model, (64, 32))
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in copied.modules())


class Misleading(nn.Module):
    """Children stand in the order conv, norm, but are not used in it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.norm.running_mean = torch.tensor([1.0, -2.0, 3.0])

    def forward(self, images: torch.Tensor) -> object:
        from crosscam.models.output import ReidOutput

        return ReidOutput((self.conv(torch.relu(self.norm(images))).mean((2, 3)),))


def test_the_layers_of_parts_take_their_normalization_in() -> None:
    model, recipe = tiny_rrid()
    size = (recipe.data.height, recipe.data.width)
    copied = fused(model, size)
    assert not [m for m in copied.modules() if isinstance(m, nn.BatchNorm1d)]
    assert [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    images = torch.randn(3, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(copied(images).descriptor, model(images).descriptor, rtol=1e-4, atol=1e-5)


def test_fusing_is_given_up_where_it_would_change_the_result() -> None:
    torch.manual_seed(0)
    copied = fused(Misleading().eval(), (16, 8))
    assert isinstance(copied.norm, nn.BatchNorm2d)


def test_the_cached_graph_is_used_again_and_a_damaged_one_is_made_again(
    network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path))
    expected = open_engine("onnxruntime", network)(PIXELS)
    (graph,) = (tmp_path / "graphs").iterdir()
    assert network.card.fingerprint in graph.name
    with monkeypatch.context() as patch:
        patch.setattr(registry, "write_fp32", lambda *_: pytest.fail("the graph was written again"))
        assert np.array_equal(open_engine("onnxruntime", network)(PIXELS), expected)
    whole = graph.read_bytes()
    # A flipped bit in the weights leaves a graph that opens and gives other descriptors.
    for damaged in (b"no graph", whole[: len(whole) // 2], flipped(whole)):
        graph.write_bytes(damaged)
        assert np.array_equal(open_engine("onnxruntime", network)(PIXELS), expected)
        assert len(graph.read_bytes()) == len(whole)


def test_engines_work_without_a_cache_folder(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "file"))
    assert open_engine("onnxruntime", network)(PIXELS).shape == (7, network.card.dim)
    remember(network, "torch", {})
    assert remembered(network) is None


def test_the_fingerprint_changes_with_all_that_changes_descriptors_and_nothing_else() -> None:
    recipe = small_recipe()
    model = warmed(recipe)
    layout = layout_of(model)
    prints = {fingerprint_of(model, 64, 32, layout, flip=True)}
    assert prints == {fingerprint_of(warmed(recipe), 64, 32, layout, flip=True)}
    prints.add(fingerprint_of(model, 64, 32, layout, flip=False))
    prints.add(fingerprint_of(model, 32, 64, layout, flip=True))
    prints.add(fingerprint_of(model, 64, 32, layout[:-1], flip=True))
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-4
    prints.add(fingerprint_of(model, 64, 32, layout, flip=True))
    assert len(prints) == 5
    assert all(len(p) == 16 and int(p, 16) >= 0 for p in prints)


def test_a_card_survives_as_texts(network: Network) -> None:
    card = replace(network.card, precision="int8", checks={"cosine_min": 0.5})
    texts = card_to_texts(card)
    assert all(isinstance(v, str) for v in texts.values())
    assert card_from_texts({"other": "x", **texts}, "f") == card
    with pytest.raises(EngineError, match="f was not written by 'crosscam export'"):
        card_from_texts({"other": "x"}, "f")
    with pytest.raises(EngineError, match="f cannot be read"):
        card_from_texts({**texts, "crosscam.layout": "[{]"}, "f")


class Timed:
    """An engine of a given speed whose descriptors are off by a given amount."""

    def __init__(self, name: str, seconds: float, noise: float) -> None:
        self.name, self.seconds, self.noise = name, seconds, noise

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        import time

        time.sleep(self.seconds)
        rows = pixels.reshape(len(pixels), -1)[:, :24].astype(np.float32) - 128
        rows += self.noise * np.random.default_rng(0).normal(size=rows.shape).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_fastest_engine_that_is_right_is_chosen(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = {
        "torch": Timed("torch", 0.03, 0),
        "torch-bf16": Timed("torch-bf16", 0.0, 30),
        "onnxruntime": Timed("onnxruntime", 0.02, 0.01),
        "openvino": Timed("openvino", 0.005, 0.01),
    }

    def opened(name: str, _: Network) -> Timed:
        if name not in engines:
            raise EngineError("broken here")
        return engines[name]

    monkeypatch.setattr(autotune, "candidates", lambda *_, **__: [*engines, "openvino-bf16"])
    monkeypatch.setattr(autotune, "open_engine", opened)
    best, found = choose_engine(network, drawn_noise(16, (64, 32)))
    assert best.name == "openvino"
    assert found["torch-bf16"].refused.startswith("cosine 0.")
    assert found["openvino-bf16"].refused == "broken here"
    assert found["torch"].cosine == pytest.approx(1)
    assert found["openvino"].images_per_second > found["onnxruntime"].images_per_second


def test_a_choice_is_remembered_for_this_network_alone(
    network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path))
    other = replace(network, card=replace(network.card, fingerprint="0" * 16))
    assert remembered(network) is None
    remember(network, "onnxruntime", {"onnxruntime": Measurement(10.0, 1.0, 1.0)})
    remember(other, "torch", {})
    assert remembered(network) == "onnxruntime"
    assert remembered(other) == "torch"
    assert remembered(replace(network, int8_images=None)) is None
    (tmp_path / "engines.json").write_text("{")
    assert remembered(network) is None
    remember(network, "an engine of tomorrow", {})
    assert remembered(network) is None
    assert len(json.loads((tmp_path / "engines.json").read_text())) == 1


def test_candidates_follow_the_device() -> None:
    on_cpu = candidates("cpu", int8=True)
    assert on_cpu[0] == "torch"
    assert {"onnxruntime", "openvino", "onnxruntime-int8", "openvino-int8"} <= set(on_cpu)
    assert not any("int8" in name for name in candidates("cpu", int8=False))


def test_an_engine_is_one_line_of_the_table(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def opened(spec: EngineSpec, path: Path, device: str) -> Timed:
        assert path.read_bytes()
        return Timed(f"{spec.name} on {device}", 0, 0)

    new = EngineSpec("new", "json", "fp32", open_file=opened, suffixes=(".new",))
    rounded = EngineSpec("new-rounded", "json", "int8", open_file=opened)
    absent = EngineSpec("absent", "nowhere_at_all", "fp32", open_file=opened)
    for spec in (new, rounded, absent):
        monkeypatch.setitem(registry.ENGINES, spec.name, spec)
    assert {"new", "new-rounded"} <= set(candidates("cpu", int8=True))
    assert not {"new-rounded", "absent"} & set(candidates("cpu", int8=False))
    assert "new" not in candidates("cuda", int8=False)
    assert open_engine("new", network).name == "new on cpu"
    (tmp_path / "model.new").write_bytes(b"graph")
    assert registry.open_graph(tmp_path / "model.new").name == "new on cpu"
    with pytest.raises(EngineError, match=r"Engine openvino does not run model.new. Take new;"):
        registry.open_exported(tmp_path / "model.new", "openvino")
    # Judged as int8, not by how it is called.
    assert registry.is_int8("new-rounded")
    assert not registry.is_int8("auto")


def test_the_old_name_of_int8_images_warns(network: Network) -> None:
    recipe = small_recipe()
    with pytest.warns(DeprecationWarning, match="now called int8_images"):
        old = Extractor(network.model, recipe, engine="onnxruntime-int8", calibration=list(PIXELS))
    new = Extractor(network.model, recipe, engine="onnxruntime-int8", int8_images=list(PIXELS))
    assert old.fingerprint == new.fingerprint != Extractor(network.model, recipe, engine="torch").fingerprint


def test_fixed_batches_are_filled_up_and_cut() -> None:
    sizes = []

    def run(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        return pixels.reshape(len(pixels), -1)[:, :3].astype(np.float32)

    for count, expected in ((7, [4, 4]), (4, [4]), (1, [4]), (8, [4, 4])):
        sizes.clear()
        images = drawn_noise(count, (4, 2))
        np.testing.assert_array_equal(in_batches_of(4, run, images), run(images))
        assert sizes[:-1] == expected
    np.testing.assert_array_equal(in_batches_of(None, run, images), run(images))
    assert [len(b) for b in batches_of(drawn_noise(7, (4, 2)), 4)] == [4, 4]
    assert [len(b) for b in batches_of(drawn_noise(11, (4, 2)), None)] == [8, 3]


def test_neighbour_agreement_equals_a_naive_loop() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(20, 5)).astype(np.float32)
    b = a + 0.6 * generator.normal(size=a.shape).astype(np.float32)

    def nearest(rows: np.ndarray, i: int) -> int:
        return max((j for j in range(len(rows)) if j != i), key=lambda j: float(rows[i] @ rows[j]))

    expected = np.mean([nearest(a, i) == nearest(b, i) for i in range(20)])
    assert neighbor_agreement(a, b) == pytest.approx(expected)
    assert 0 < expected < 1
    assert neighbor_agreement(a, a) == 1


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert num_threads() >= 1


def test_torch_takes_models_in_bf16_but_normalizes_pixels_in_fp32(network: Network) -> None:
    module = PixelsToDescriptors(network.model, flip=False)
    assert module.mean.dtype == torch.float32
    engine = TorchEngine(network.model, (64, 32), flip=False, bf16=True)
    assert engine(PIXELS).dtype == np.float32


def test_auto_waits_for_many_images_and_then_keeps_its_choice(
    network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path))
    monkeypatch.setattr(autotune, "candidates", lambda *_, **__: ["torch", "onnxruntime"])
    speeds = {"torch": 10.0, "onnxruntime": 20.0}
    monkeypatch.setattr(autotune, "measure", lambda engines, _: {n: Measurement(speeds[n], 1.0, 1.0) for n in engines})
    few = autotune.Runner("auto", lambda: network)
    few(PIXELS, autotune.WORTH_MEASURING - 1)
    assert (few.name, few.measured) == ("auto", {})
    few(PIXELS, autotune.WORTH_MEASURING)
    assert few.name == "onnxruntime"
    assert set(few.measured) == {"torch", "onnxruntime"}
    # Few images are described by torch whatever was chosen, unless somebody asked for the choice.
    later = autotune.Runner("auto", lambda: network)
    np.testing.assert_allclose(later(PIXELS, 1), by_hand(network), atol=1e-4)
    assert (later.name, later.used) == ("auto", "torch")
    speeds["torch"] = 30.0
    assert later(PIXELS, autotune.WORTH_MEASURING) is not None
    assert later.name == "onnxruntime"
    assert autotune.Runner("auto", lambda: network).choose(PIXELS).name == "torch"
    third = autotune.Runner("auto", lambda: network)
    third(PIXELS, 1)
    assert third.name == "torch"


def test_a_choice_stays_beside_the_run_whatever_the_clock_says_next(
    network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(autotune, "candidates", lambda *_, **__: ["torch", "onnxruntime"])
    network = replace(network, folder=tmp_path / "run")
    speeds = {"torch": 10.0, "onnxruntime": 20.0}
    monkeypatch.setattr(autotune, "measure", lambda engines, _: {n: Measurement(speeds[n], 1.0, 1.0) for n in engines})
    for place, threads in (("a", "1"), ("b", "7")):
        # Another cache, another number of threads, another verdict of the clock.
        monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / place))
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        runner = autotune.Runner("auto", lambda: network)
        runner(PIXELS, autotune.WORTH_MEASURING)
        assert runner.used == "onnxruntime"
        speeds["torch"] = 40.0
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["engines.json"]
    # Two that measured at the same time: the first to write wins.
    assert remember(network, "torch", {}) == "onnxruntime"


def test_pixels_are_normalized_by_rows_to_the_same_numbers(network: Network) -> None:
    plain, rows = (kind(network.model, flip=True) for kind in (PixelsToDescriptors, RowsToDescriptors))
    pixels = torch.from_numpy(PIXELS)
    assert torch.equal(rows.normalized(pixels), plain.normalized(pixels))


def test_a_tracker_does_not_ask_the_disk_at_every_frame(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(autotune, "remembered", lambda *_, **__: asked.append(1))
    runner = autotune.Runner("auto", lambda: network)
    for _ in range(3):
        runner(PIXELS, 1)
    assert len(asked) == 1
