"""Networks from elsewhere describe images as a plain script does, and what is wrong with a file is one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crosscam import Extractor
from crosscam.data.network_input import NetworkInput
from crosscam.errors import ArgumentError, CrosscamError, EngineError
from crosscam.inference.engines.network_file import (
    declare,
    files_of,
    find_declaration,
    input_of_family,
    write_declaration,
)
from crosscam.inference.exporting import export_model
from crosscam.inference.tracker_features import TrackerFeatures
from imported_networks import HEIGHT, WIDTH, convolution, plain_rows, write_onnx, write_people

INPUT = f"bgr {HEIGHT}x{WIDTH} 255"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_people(tmp_path_factory.mktemp("imported") / "people").iterdir())[:7]


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return write_onnx(convolution(), tmp_path / "net.onnx")


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_onnx_describes_as_onnxruntime_does(people: list[Path], tmp_path: Path, batch: int | None):
    ort = pytest.importorskip("onnxruntime")
    file = write_onnx(convolution(), tmp_path / "net.onnx", batch=batch)
    session = ort.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
    expected = plain_rows(
        lambda x: session.run(None, {"pictures": np.repeat(x, batch or 1, 0)})[0][:1], people, bgr=True
    )
    extractor = Extractor.load(file, input=INPUT, engine="onnxruntime")
    np.testing.assert_allclose(extractor(people), expected, atol=1e-6)
    np.testing.assert_allclose(extractor.files(people), expected, atol=1e-6)
    assert extractor([]).shape == (0, 6)


@pytest.mark.parametrize("batch", [-1, 1])
def test_openvino_describes_as_openvino_does(people: list[Path], tmp_path: Path, batch: int):
    openvino = pytest.importorskip("openvino")
    example = torch.zeros(1, 3, HEIGHT, WIDTH)
    model = openvino.convert_model(convolution(), example_input=example, input=[batch, 3, HEIGHT, WIDTH])
    openvino.save_model(model, tmp_path / "net.xml", compress_to_fp16=False)
    network = openvino.compile_model(tmp_path / "net.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = plain_rows(lambda x: np.array(network(x)[0]), people, scale=1 / 255)
    extractor = Extractor.load(tmp_path / "net.xml", input=f"rgb {HEIGHT}x{WIDTH} 1")
    np.testing.assert_allclose(extractor(people), expected, atol=1e-6)
    (tmp_path / "net.bin").unlink()
    with pytest.raises(EngineError, match=r"No file .*net\.bin"):
        Extractor.load(tmp_path / "net.xml", input=INPUT)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_a_module_and_a_function_describe_alike(people: list[Path], tmp_path: Path):
    module = convolution()
    torch.jit.trace(module, torch.zeros(1, 3, HEIGHT, WIDTH)).save(tmp_path / "net.pt")

    def of_bytes(pixels: np.ndarray) -> Tensor:
        assert pixels.dtype == np.uint8
        with torch.no_grad():
            return module(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())

    expected = plain_rows(lambda x: module(torch.from_numpy(x)).detach().numpy(), people, bgr=True)
    for source, name in ((tmp_path / "net.pt", None), (module, None), (of_bytes, "of bytes 1")):
        extractor = Extractor.load(source, input=INPUT, name=name)
        np.testing.assert_allclose(extractor(people), expected, atol=1e-6)
    with pytest.raises(ArgumentError, match="Give name="):
        Extractor.load(of_bytes, input=INPUT)
    with pytest.raises(ArgumentError, match="needs input="):
        Extractor.load(module)
    with pytest.raises(ArgumentError, match="name='a' is for a module or a function"):
        Extractor.load(tmp_path / "net.pt", input=INPUT, name="a")
    with pytest.raises(ArgumentError, match="engine= and int8_images= are for files"):
        Extractor.load(module, input=INPUT, engine="onnxruntime")
    with pytest.raises(EngineError, match="let the function normalize"):
        Extractor.load(of_bytes, input=f"rgb {HEIGHT}x{WIDTH} imagenet", name="a")


class ChannelsLast(nn.Module):
    """(B, 32, 16, 3) of any type -> (B, 6); with ``fixed``, only for one image at a time."""

    def __init__(self, *, fixed: bool = False) -> None:
        super().__init__()
        self.inner, self.fixed = convolution(), fixed

    def forward(self, images: Tensor) -> Tensor:
        rows = self.inner(images.float().permute(0, 3, 1, 2))
        return rows.reshape(1, 6) if self.fixed else rows


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float16, torch.float32])
@pytest.mark.parametrize("fixed", [False, True])
def test_channels_last_bytes_halves_and_one_image_at_a_time(
    people: list[Path], tmp_path: Path, engine: str, kind: torch.dtype, fixed: bool
):
    pytest.importorskip(engine)
    example = torch.zeros(1, HEIGHT, WIDTH, 3, dtype=kind)
    file = tmp_path / "net.onnx"
    torch.onnx.export(ChannelsLast(fixed=fixed).eval(), (example,), file, input_names=["x"], dynamo=False)
    module = convolution()
    expected = plain_rows(lambda x: module(torch.from_numpy(x)).detach().numpy(), people, bgr=True)
    np.testing.assert_allclose(Extractor.load(file, input=INPUT, engine=engine)(people), expected, atol=1e-6)
    if kind == torch.uint8:
        with pytest.raises(EngineError, match="Declare scale 255 for bytes"):
            Extractor.load(file, input=f"bgr {HEIGHT}x{WIDTH} 1", engine=engine)


def test_a_plain_pickle_is_not_opened(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (os.fspath(tmp_path / "sprung"),)

    for name, write in (("a.pt", torch.save), ("b.pth", lambda value, path: path.write_bytes(pickle.dumps(value)))):
        write(Trap(), tmp_path / name)
        with pytest.raises(EngineError, match="is a pickle, which may run any code") as caught:
            Extractor.load(tmp_path / name, input=INPUT)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_the_fingerprint_is_of_file_input_and_mirror_pass(onnx_file: Path, tmp_path: Path):
    first = Extractor.load(onnx_file, input=INPUT).fingerprint
    assert Extractor.load(onnx_file, input=f"BGR {HEIGHT}x{WIDTH}  255 mean=0").fingerprint == first
    assert Extractor.load(onnx_file, input=INPUT, engine="openvino").fingerprint == first
    torch.manual_seed(0)
    changed = convolution()
    changed[0].bias.data[0] += 1e-3
    other = write_onnx(changed, tmp_path / "other.onnx")
    different = [
        Extractor.load(onnx_file, input=f"rgb {HEIGHT}x{WIDTH} 255").fingerprint,
        Extractor.load(onnx_file, input=f"{INPUT} std=2").fingerprint,
        Extractor.load(onnx_file, input=f"{INPUT} opencv").fingerprint,
        Extractor.load(onnx_file, input=INPUT, flip=False).fingerprint,
        Extractor.load(other, input=INPUT).fingerprint,
        Extractor.load(changed, input=INPUT).fingerprint,
        Extractor.load(convolution(), input=INPUT).fingerprint,
    ]
    assert len({first, *different}) == len(different) + 1


def test_weights_beside_an_onnx_file_count(onnx_file: Path, people: list[Path]):
    onnx = pytest.importorskip("onnx")
    expected = Extractor.load(onnx_file, input=INPUT)(people)
    model = onnx.load(onnx_file)
    onnx.save_model(model, onnx_file, save_as_external_data=True, location="net.weights", size_threshold=0)
    assert [path.name for path in files_of(onnx_file)] == ["net.onnx", "net.weights"]
    write_declaration(declare(onnx_file, NetworkInput.parse(INPUT)), "1")
    np.testing.assert_allclose(Extractor.load(onnx_file)(people), expected, atol=1e-6)
    weights = onnx_file.with_suffix(".weights")
    data = bytearray(weights.read_bytes())
    data[2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(EngineError, match=r"is not the file that .*network\.json declares"):
        Extractor.load(onnx_file)


def test_a_declaration_opens_file_and_folder_and_refuses_another_file(onnx_file: Path, tmp_path: Path):
    with pytest.raises(EngineError, match=r"was not written by 'crosscam export'.*import-network"):
        Extractor.load(onnx_file)
    write_declaration(declare(onnx_file, NetworkInput.parse(INPUT)), "1")
    expected = Extractor.load(onnx_file, input=INPUT).fingerprint
    assert {Extractor.load(place).fingerprint for place in (onnx_file, onnx_file.parent)} == {expected}
    other = write_onnx(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), tmp_path / "other.onnx")
    assert find_declaration(other) is None
    with pytest.raises(EngineError, match=r"declares net\.onnx\. Give another folder"):
        write_declaration(declare(other, NetworkInput.parse(INPUT)), "1")
    shutil.copy(other, onnx_file)
    with pytest.raises(EngineError, match=r"is not the file that .*network\.json declares"):
        Extractor.load(onnx_file)
    onnx_file.unlink()
    with pytest.raises(EngineError, match=r"declares net\.onnx, which is not in"):
        Extractor.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        *("", "[]", "{}", '{"file": "net.onnx"}'),
        *({"input": "rgb 2x2"}, {"input": 3}, {"file": "../net.onnx"}, {"file": 1}, {"output": 1}, {"sha256": "0"}),
    ],
)
def test_a_damaged_declaration_is_one_line(onnx_file: Path, tmp_path: Path, change):
    place = write_declaration(declare(onnx_file, NetworkInput.parse(INPUT)), "1")
    whole = json.loads(place.read_text())
    place.write_text(change if isinstance(change, str) else json.dumps(whole | change))
    with pytest.raises(EngineError, match=r"network\.json") as caught:
        Extractor.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"rgb {WIDTH}x{HEIGHT} 255", "Declare the size that the file takes, height first"),
        ("rgb 256x128 255", "takes any x 3 x 32 x 16"),
        ("rgb 256 255", "expected color order"),
    ],
)
def test_another_size_is_one_line(onnx_file: Path, text: str, fault: str):
    with pytest.raises(CrosscamError, match=fault) as caught:
        Extractor.load(onnx_file, input=text)
    assert "\n" not in str(caught.value)


def test_what_is_not_such_a_network_is_one_line(onnx_file: Path, tmp_path: Path):
    data = onnx_file.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.xml").write_text("<net")
    (tmp_path / "text.bin").write_text("")
    write_onnx(nn.Conv2d(3, 6, 3), tmp_path / "map.onnx")
    for name, fault in (
        ("cut.onnx", "cannot be opened"),
        ("text.xml", "cannot be opened"),
        ("map.onnx", "Export the network with its pooling"),
        ("gone.onnx", "No file"),
        ("net.tflite", "is not a network's file"),
    ):
        with pytest.raises(CrosscamError, match=fault) as caught:
            Extractor.load(tmp_path / name, input=INPUT)
        assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match="Engine torch does not run"):
        Extractor.load(onnx_file, input=INPUT, engine="torch")


@pytest.mark.parametrize(
    ("stem", "family", "order", "white"),
    [
        ("person-reidentification-retail-0286", None, "bgr", (255.0, 255.0, 255.0)),
        ("mine", "0287", "bgr", (255.0, 255.0, 255.0)),
        ("mine", "retail-0277", "bgr", (255.0, 255.0, 255.0)),
        # (1 - mean) / deviation of each color
        ("person_reid_youtu_2021nov", None, "rgb", (2.2489, 2.4286, 2.64)),
        ("resnet50_market1501_aicity156", None, "rgb", (2.2788, 2.4071, 2.6283)),
        ("mine", "resnet50_market1501_aicity156", "rgb", (2.2788, 2.4071, 2.6283)),
    ],
)
def test_networks_whose_input_is_published(stem: str, family: str | None, order: str, white: tuple[float, ...]):
    takes = input_of_family(Path(f"{stem}.onnx"), family)
    assert takes is not None
    assert (takes.order, takes.height, takes.width) == (order, 256, 128)
    pixels = torch.full((1, 3, 256, 128), 255, dtype=torch.uint8)
    np.testing.assert_allclose(takes.scaled(pixels)[0, :, 0, 0], white, atol=1e-4)


def test_a_name_that_any_network_may_have_tells_no_input():
    assert input_of_family(Path("resnet50_market1501.onnx"), None) is None


@pytest.mark.parametrize("family", ["", "2", "retail-", "youtu", "person-reidentification"])
def test_an_unknown_family_is_one_line(family: str):
    with pytest.raises(ArgumentError, match="Unknown family"):
        input_of_family(Path("person-reidentification-retail-0277.xml"), family)


def test_of_several_outputs_the_rows_are_taken(people: list[Path]):
    class Two(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"map": images, "rows": images.mean(dim=(2, 3))}

    extractor = Extractor.load(Two(), input=INPUT)
    assert extractor(people).shape == (7, 3)


def test_a_network_from_elsewhere_has_no_export(onnx_file: Path, tmp_path: Path):
    extractor = Extractor.load(onnx_file, input=INPUT)
    with pytest.raises(EngineError, match="is a network from elsewhere, without body parts"):
        export_model(extractor, tmp_path / "out.onnx")


def test_a_tracker_is_fed(onnx_file: Path):
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    boxes = np.array([[1, 2, 20, 50], [30, 5, 50, 55]])
    extractor = Extractor.load(onnx_file, input=INPUT)
    features = TrackerFeatures(extractor)
    rows = features(frame, boxes)
    assert rows.shape == (2, 6)
    np.testing.assert_allclose(rows, extractor.boxes(frame, boxes, "bgr"))
    assert features(frame, np.empty((0, 4))).shape == (0, 6)
