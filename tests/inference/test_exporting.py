"""Exported files: what they give, what they say of themselves, when they are refused, and what they need to run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crosscam.data.records import ReidDataset
from crosscam.errors import DataError, EngineError
from crosscam.inference import exporting
from crosscam.inference.engines.base import ModelCard
from crosscam.inference.engines.graph import Network, write_fp32
from crosscam.inference.engines.openvino_engine import openvino_core
from crosscam.inference.exporting import _refuse_unlike, drawn_noise, export_model
from crosscam.inference.extractor import Extractor
from crosscam.recipes import checkpoint
from crosscam.recipes.baseline_recipes import scaled_down
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings

TINY = "basic:stem=8,planes=8.8.16.16,out=8.8.16.16,depths=1.1.1.1"


def save_run(folder: Path, recipe: Recipe) -> Path:
    torch.manual_seed(3)
    model = build_model(recipe, 5)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, recipe.data.height, recipe.data.width))
    folder.mkdir()
    checkpoint.save_recipe(folder, recipe)
    checkpoint.save_weights(folder, model.state_dict())
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = [f"model.backbone={TINY}", "model.scales=2", "model.dim=8", "data.height=64", "data.width=32"]
    return save_run(tmp_path_factory.mktemp("export") / "run", with_settings(find_recipe("demo"), settings))


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("flip", [True, False])
def test_a_file_gives_what_the_run_folder_gives(
    run: Path, tmp_path: Path, rendered: ReidDataset, suffix: str, flip: bool
) -> None:
    extractor = Extractor.load(run, flip=flip, engine="torch")
    path = tmp_path / f"model{suffix}"
    card = export_model(extractor, path, dataset=rendered)
    assert card.checks["cosine_min"] > 0.9999
    assert abs(card.checks["mAP_change"]) < 0.01
    assert card.checks["pictures"] == len(rendered.query) + len(rendered.gallery)
    loaded = Extractor.load(path)
    assert loaded.card == card
    assert loaded.fingerprint == extractor.fingerprint == Extractor.load(run, flip=flip).fingerprint
    assert (loaded.layout, loaded.dim, loaded.flip) == (extractor.layout, extractor.dim, flip)
    assert loaded.recipe == extractor.recipe
    paths = [s.path for s in rendered.query[:5]]
    np.testing.assert_allclose(loaded(paths), extractor(paths), atol=1e-4)
    np.testing.assert_allclose(loaded.files(paths), loaded(paths), atol=1e-6)
    with pytest.raises(EngineError, match="Load the run folder"):
        _ = loaded.model
    with pytest.raises(ValueError, match="export again"):
        Extractor.load(path, flip=not flip)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_int8_is_measured_and_has_a_fingerprint_of_its_own(
    run: Path, tmp_path: Path, rendered: ReidDataset, suffix: str
) -> None:
    extractor = Extractor.load(run, engine="torch")
    card = export_model(extractor, tmp_path / f"m{suffix}", int8=True, dataset=rendered, most_lost=1.0)
    assert card.precision == "int8"
    assert card.fingerprint != extractor.fingerprint
    loaded = Extractor.load(tmp_path / f"m{suffix}")
    assert loaded.fingerprint == card.fingerprint
    assert loaded.card.checks["mAP_torch"] == card.checks["mAP_torch"]
    paths = [s.path for s in rendered.query[:5]]
    cosines = (loaded(paths) * extractor(paths)).sum(axis=1)
    assert 0.98 < cosines.min() < 0.9999999


def test_a_fixed_batch_takes_any_number_of_images_through_the_extractor(run: Path, tmp_path: Path) -> None:
    extractor = Extractor.load(run, engine="torch")
    export_model(extractor, tmp_path / "four.onnx", batch=4)
    pixels = drawn_noise(6, (64, 32))
    np.testing.assert_allclose(Extractor.load(tmp_path / "four.onnx")(pixels), extractor(pixels), atol=1e-4)


@pytest.mark.parametrize(
    ("system", "batch"),
    [
        ("pcb", None),
        ("mgn", None),
        ("aligned-reid", None),
        ("bot", None),
        ("deep-person", None),
        ("hacnn", 4),
        ("transreid", None),
    ],
)
def test_other_systems_are_exported_too(tmp_path: Path, system: str, batch: int | None) -> None:
    recipe = scaled_down(find_recipe(system), 16)
    if hasattr(recipe.model, "backbone") and system != "transreid":
        recipe = replace(recipe, model=replace(recipe.model, backbone=TINY))
    run = save_run(tmp_path / "run", recipe)
    extractor = Extractor.load(run, engine="torch")
    card = export_model(extractor, tmp_path / "model.onnx", batch=batch)
    assert card.checks["cosine_min"] > 0.9999
    assert Extractor.load(tmp_path / "model.onnx").layout == extractor.layout


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_projected_blocks_are_exported_for_any_number_of_images(tmp_path: Path, suffix: str) -> None:
    settings = [f"model.backbone={TINY}", "model.dim=8", "model.project=3", "data.height=64", "data.width=32"]
    recipe = with_settings(find_recipe("demo"), settings)
    extractor = Extractor.load(save_run(tmp_path / "run", recipe), engine="torch")
    export_model(extractor, tmp_path / f"model{suffix}")
    loaded = Extractor.load(tmp_path / f"model{suffix}")
    assert loaded.dim == 8 * 3
    images = list(np.random.default_rng(0).integers(0, 256, (33, 64, 32, 3), dtype=np.uint8))
    for count in (1, 3, 33):
        np.testing.assert_allclose(loaded(images[:count]), extractor(images[:count]), atol=1e-4)


def card_with(run: Path, precision: str, **checks: object) -> ModelCard:
    card = Extractor.load(run).card
    checks = {"compared_on": "x", "cosine_min": 1.0, "same_nearest": 1.0, **checks}
    return replace(card, precision=precision, checks=checks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("precision", "checks", "message"),
    [
        ("fp32", {"cosine_min": 0.9998}, "smallest cosine is 0.99980, expected at least 0.9999"),
        ("fp32", {"cosine_min": float("nan")}, "smallest cosine is nan"),
        ("int8", {"cosine_min": 0.9}, "expected at least 0.98"),
        ("int8", {"mAP": 0.5, "mAP_change": -0.02}, "mAP falls by 2.00 points, expected at most 1.00"),
        ("int8", {"same_nearest": 0.9}, "90 % of the images keep their nearest"),
    ],
)
def test_a_file_that_is_unlike_the_network_is_refused(
    run: Path, precision: str, checks: dict[str, float], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        _refuse_unlike(card_with(run, precision, **checks), Path("m.onnx"), 0.01)
    _refuse_unlike(card_with(run, "int8", mAP=0.5, mAP_change=-0.009, same_nearest=0.5), Path("m.onnx"), 0.01)


def test_nothing_is_left_behind_by_a_refusal(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = exporting.write_fp32

    def other_weights(network: object, path: Path, batch: int | None) -> None:
        extractor = Extractor.load(run)
        torch.nn.init.normal_(next(extractor.model.parameters()))
        real(replace(network, model=extractor.model), path, batch)  # type: ignore[type-var]

    monkeypatch.setattr(exporting, "write_fp32", other_weights)
    with pytest.raises(EngineError, match=r"m\.onnx is not written: it does not give what the network gives"):
        export_model(Extractor.load(run, engine="torch"), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_int8_without_images_and_other_endings_are_refused(run: Path, tmp_path: Path) -> None:
    extractor = Extractor.load(run)
    with pytest.raises(DataError, match="int8 takes its ranges from images"):
        export_model(extractor, tmp_path / "m.onnx", int8=True)
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export_model(extractor, tmp_path / "m.pt")


def test_files_that_are_no_exports_are_told_in_one_line(run: Path, tmp_path: Path) -> None:
    import onnx

    (tmp_path / "text.onnx").write_text("no graph")
    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph, ir_version=10), tmp_path / "foreign.onnx")
    export_model(Extractor.load(run, engine="torch"), tmp_path / "m.xml")
    (tmp_path / "m.bin").unlink()
    for name, expected in (("text.onnx", "cannot be opened"), ("m.xml", "cannot be opened"), ("gone.onnx", "No file")):
        with pytest.raises(EngineError, match=expected) as caught:
            Extractor.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match=r"was not written by 'crosscam export'|cannot be opened"):
        Extractor.load(tmp_path / "foreign.onnx")
    for engine in ("torch", "openvino-int8"):
        with pytest.raises(EngineError, match=r"does not run m\.xml"):
            Extractor.load(tmp_path / "m.xml", engine=engine)


@pytest.mark.parametrize("name", ["m.onnx", "m.xml", "m.bin"])
def test_a_file_with_a_flipped_bit_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / ("m.onnx" if name == "m.onnx" else "m.xml")
    export_model(Extractor.load(run, engine="torch"), path)
    file = tmp_path / name
    whole = file.read_bytes()
    for place in np.linspace(100, len(whole) - 100, 12, dtype=int):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(EngineError, match=rf"{path.name} is damaged: its bytes are not those"):
            Extractor.load(path)
    file.write_bytes(whole)
    assert Extractor.load(path).dim


def test_the_two_files_of_two_exports_are_not_taken_for_one(run: Path, tmp_path: Path) -> None:
    """As a kill between their writing leaves them."""
    first, second = tmp_path / "first.xml", tmp_path / "second.xml"
    export_model(Extractor.load(run, engine="torch"), first)
    other = Extractor.load(run, engine="torch")
    torch.nn.init.normal_(next(other.model.parameters()))
    export_model(Extractor(other.model, other.recipe), second)
    first.with_suffix(".bin").write_bytes(second.with_suffix(".bin").read_bytes())
    with pytest.raises(EngineError, match=r"first\.xml is damaged: .* together with its first\.bin"):
        Extractor.load(first)


# Blocks what a machine without them lacks, then runs the page's own example.
BEFORE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "crosscam", "onnx", "openvino"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
"""
AFTER = """
import json
from PIL import Image

np.save("out.npy", describe(np.load("in.npy")))
np.save("read.npy", describe(read("a.png")[None]))
print(json.dumps({"fingerprint": card["crosscam.fingerprint"], "blocks": len(json.loads(card["crosscam.layout"]))}))
for name in ("torch", "crosscam"):
    assert name not in sys.modules
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} could be imported")
"""


def test_the_page_s_example_runs_with_nothing_but_onnxruntime_and_numpy(run: Path, tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs/export.md"
    example = page.read_text().split("<!-- alone -->")[1].split("```python")[1].split("```")[0]
    extractor = Extractor.load(run, engine="torch")
    export_model(extractor, tmp_path / "model.onnx")
    pixels = drawn_noise(3, (64, 32))
    np.save(tmp_path / "in.npy", pixels)
    Image.fromarray(drawn_noise(1, (99, 51))[0]).save(tmp_path / "a.png")
    command = [sys.executable, "-I", "-c", BEFORE + example + AFTER]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"fingerprint": extractor.fingerprint, "blocks": len(extractor.layout)}
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), extractor(pixels), atol=1e-4)
    # Where images shrink, Pillow may begin with the other direction, and a level differs here and there.
    np.testing.assert_allclose(np.load(tmp_path / "read.npy"), extractor([tmp_path / "a.png"]), atol=2e-3)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("batch", [None, 3])
def test_a_file_takes_no_images(run: Path, tmp_path: Path, suffix: str, batch: int | None) -> None:
    extractor = Extractor.load(run, engine="torch")
    path = tmp_path / f"model{suffix}"
    export_model(extractor, path, batch=batch)
    none, some = np.empty((0, 64, 32, 3), np.uint8), drawn_noise(3, (64, 32))
    loaded = Extractor.load(path)
    for found in (loaded.pixels(none), extractor.pixels(none), exporting.open_graph(path)(none)):
        assert found.shape == (0, extractor.dim)
        assert found.dtype == np.float32
    np.testing.assert_allclose(loaded.pixels(some), extractor.pixels(some), atol=1e-5)
    if batch is None:
        # And without crosscam around it.
        if suffix == ".onnx":
            session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
            raw = session.run(None, {"images": none})[0]
        else:
            raw = openvino_core().compile_model(str(path), "CPU")([none])[0]
        assert raw.shape == (0, extractor.dim)


def test_taking_no_images_changes_no_descriptor(run: Path, tmp_path: Path) -> None:
    session = pytest.importorskip("onnxruntime").InferenceSession
    extractor = Extractor.load(run, engine="torch")
    write_fp32(Network(extractor.model, extractor.card), tmp_path / "plain.onnx")
    export_model(extractor, tmp_path / "model.onnx")
    plain, changed = session(str(tmp_path / "plain.onnx")), session(str(tmp_path / "model.onnx"))
    for count in (1, 2, 7):
        pixels = drawn_noise(count, (64, 32))
        assert np.array_equal(plain.run(None, {"images": pixels})[0], changed.run(None, {"images": pixels})[0])
