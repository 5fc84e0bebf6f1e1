"""``crosscam import-network``, and every command with a network from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import Run

from crosscam.data.datasets.readers import read_dataset
from crosscam.experiments.scoring import ranking_labels
from crosscam.inference.extractor import Extractor
from crosscam.metrics.ranking import evaluate_descriptors
from imported_networks import HEIGHT, WIDTH, Stripes, convolution, write_onnx, write_people

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
BGR, RGB = f"bgr {HEIGHT}x{WIDTH} 255", f"rgb {HEIGHT}x{WIDTH} 255"


@pytest.fixture
def network(crosscam: Run, place: Path) -> Path:
    """An ONNX file with its declaration, in a folder ``net`` of the working folder."""
    write_onnx(convolution(), place / "elsewhere.onnx")
    status, out, err = crosscam(f"import-network elsewhere.onnx --input '{RGB}' --out net")
    assert status == 0, err
    assert "6 numbers" in out + err
    return Path("net/elsewhere.onnx")


def test_the_declaration_stands_beside_the_file_or_in_a_folder(crosscam: Run, place: Path, network: Path):
    assert sorted(p.name for p in (place / "net").iterdir()) == ["elsewhere.onnx", "network.json"]
    status, out, _ = crosscam(f"import-network elsewhere.onnx --input '{RGB} bicubic' --json")
    told = json.loads(out)
    assert (status, told["out"], told["numbers"], told["input"]) == (0, "network.json", 6, f"{RGB} bicubic")
    assert told["fingerprint"] == Extractor.load(place / "elsewhere.onnx").fingerprint
    assert told["fingerprint"] != Extractor.load(place / "net").fingerprint


def test_check_writes_nothing_where_another_reading_fits_better(crosscam: Run, place: Path):
    write_onnx(Stripes(), place / "stripes.onnx")
    people = write_people(place / "wearers")
    rows = [f"{path},{int(path.name[:4])},{path.name[6]},train" for path in sorted(people.iterdir())]
    (place / "wearers.csv").write_text("\n".join(["path,pid,camid,split", *rows]) + "\n")
    for images in ("wearers", "wearers.csv"):
        status, out, err = crosscam(f"import-network stripes.onnx --input '{RGB}' --check {images}")
        assert status == 2
        assert f"Give --input '{BGR}'" in err
        assert "(declared)" in out
        assert not (place / "network.json").exists()
        status, _, err = crosscam(f"import-network stripes.onnx --input '{BGR}' --check {images}")
        assert (status, "No other reading fits better" in err + out) == (0, True)
        (place / "network.json").unlink()


def test_every_command_takes_it(crosscam: Run, place: Path, network: Path):
    dataset = read_dataset(place / "people")
    extractor = Extractor.load(place / network)
    query, gallery = (extractor([s.path for s in part]) for part in (dataset.query, dataset.gallery))
    expected = evaluate_descriptors(query, gallery, *ranking_labels(dataset), protocol=dataset.protocol)
    for source in (network, "net"):
        status, out, err = crosscam(f"evaluate {source} --data people --out s.json --json")
        assert status == 0, err
        assert json.loads(out)["scores"][0]["mAP"] == pytest.approx(expected.mAP, abs=1e-6)
    assert crosscam(f"extract {network} people/query rows.npz")[0] == 0
    with np.load(place / "rows.npz") as file:
        assert str(file["fingerprint"]) == extractor.fingerprint
        np.testing.assert_allclose(file["descriptors"], query, atol=1e-6)
    assert crosscam(f"gallery create g {network}")[0] == 0
    assert crosscam(f"gallery add g {network} people")[0] == 0
    status, out, err = crosscam(f"gallery search g {network} {dataset.gallery[0].path} --k 2 --json")
    assert status == 0, err
    assert json.loads(out)[0]["distance"] == pytest.approx(0, abs=1e-3)
    status, _, err = crosscam(f"gallery search g run {dataset.gallery[0].path}")
    assert (status, extractor.fingerprint in err) == (2, True)
    rows = [f"{s.path},{s.pid},{s.camid}" for samples in dataset.subsets.values() for s in samples]
    (place / "own.csv").write_text("\n".join(["path,pid,camid", *rows]) + "\n")
    rates = "--fmr 0.2 --fnmr 0.95"
    status, out, err = crosscam(f"calibrate {network} --data own.csv {rates} --out c.json --gallery g --json")
    assert status == 0, err
    assert json.loads(out)["origin"]["model_fingerprint"] == extractor.fingerprint


def test_a_gallery_refuses_the_network_with_another_input(crosscam: Run, place: Path, network: Path):
    assert crosscam(f"gallery create g {network} --no-flip")[0] == 0
    assert crosscam(f"gallery add g {network} people")[0] == 0
    declared = place / "net/network.json"
    declared.write_text(declared.read_text().replace("rgb", "bgr"))
    status, _, err = crosscam(f"gallery add g {network} people")
    assert status == 2
    assert err.count("\n") == 1
    assert "elsewhere" in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("import-network elsewhere.onnx", "What elsewhere.onnx takes is not known. Give --input"),
        ("import-network gone.onnx --input 'rgb 2x2 1'", "No file gone.onnx"),
        ("import-network elsewhere.onnx --input 'rgb 2x2'", "expected color order, height x width and scale"),
        ("import-network elsewhere.onnx --input 'rgb 64x16 1'", "takes any x 3 x 32 x 16"),
        ("import-network elsewhere.onnx --family 0299", "Unknown family '0299'."),
        ("import-network elsewhere.onnx --family bot_resnet5", "Did you mean bot_resnet50? Known: "),
        ("import-network gone.pth --family bot_resnet50 --out x", "No file gone.pth. Give a .pth or .safetensors"),
        ("import-network elsewhere.onnx --family osnet_x1_0", "takes --out, the run folder to write"),
        ("import-network elsewhere.onnx --family bot_resnet50", "takes --out, the run folder to write"),
        ("import-network run/foreign.onnx --input 'rgb 2x2 1'", "run is a run folder. Give another folder with --out"),
        ("import-network run/recipe.json --input 'rgb 2x2 1' --out x", "is not a network that crosscam opens"),
        (f"import-network elsewhere.onnx --input '{RGB}' --check people/query/none", "people/query/none"),
        ("import-network weights.pth --input 'rgb 32x16 1'", "BoT take --family"),
        ("import-network weights.safetensors --input 'rgb 32x16 1'", "BoT take --family"),
        (f"import-network elsewhere.onnx --family 0277 --input '{RGB}'", "Give --family, or --input"),
        (f"import-network elsewhere.onnx --input '{RGB}' --camera gate", "options of reading are for --check"),
        ("import-network weights.pth --family osnet_x1_0 --out net", "net holds a network from elsewhere"),
        ("import-authors weights.pth net", "net holds a network from elsewhere"),
        ("evaluate elsewhere.onnx --data people", "does not say which images it takes"),
        ("gallery create g elsewhere.onnx", "no network.json that says which images it takes"),
        ("export net", "is a network from elsewhere, without body parts"),
        ("explain net a.jpg a.jpg --weight head=2", "head: this network has no body parts"),
    ],
)
def test_what_is_wrong_is_one_line(crosscam: Run, place: Path, network: Path, command: str, message: str):
    (place / "a.jpg").write_bytes(next((place / "people/query").iterdir()).read_bytes())
    (place / "run/foreign.onnx").write_bytes((place / "elsewhere.onnx").read_bytes())
    for name in ("weights.pth", "weights.safetensors"):
        (place / name).write_bytes(b"no network")
    status, _, err = crosscam(command)
    assert status == 2
    assert message in err
    assert err.strip().count("\n") == 0


def test_no_other_network_is_replaced(crosscam: Run, place: Path, network: Path):
    before = (place / network).read_bytes()
    write_onnx(Stripes(), place / "stripes.onnx")
    (place / "more").mkdir()
    shutil.copy(place / "stripes.onnx", place / "more/elsewhere.onnx")
    for command, message in (
        (
            f"more/elsewhere.onnx --input '{RGB}' --out net",
            "net/elsewhere.onnx is another file than more/elsewhere.onnx",
        ),
        (f"stripes.onnx --input '{RGB}' --out net", "net/network.json declares elsewhere.onnx"),
    ):
        status, _, err = crosscam(f"import-network {command}")
        assert (status, message in err, err.strip().count("\n")) == (2, True, 0)
        assert sorted(p.name for p in (place / "net").iterdir()) == ["elsewhere.onnx", "network.json"]
        assert (place / network).read_bytes() == before
    assert crosscam(f"import-network elsewhere.onnx --input '{BGR}' --out net")[0] == 0, "the same file again"


def test_explain_shows_the_distance_and_a_page(crosscam: Run, place: Path, network: Path):
    (place / "a.jpg").write_bytes(next((place / "people/query").iterdir()).read_bytes())
    status, out, err = crosscam("explain net a.jpg a.jpg --out why.html")
    assert status == 0, err
    assert "whole image" in out
    assert "one block of the whole image: no parts can be compared" in err
    assert "<html" in (place / "why.html").read_text(encoding="utf-8")


def test_an_exported_file_says_itself_what_it_takes(crosscam: Run, place: Path):
    for name in ("model.onnx", "model.xml"):
        assert crosscam(f"export run --out {name} --format {'onnx' if name.endswith('onnx') else 'openvino'}")[0] == 0
        status, _, err = crosscam(f"import-network {name} --input 'rgb 64x32 1'")
        assert (status, "was written by 'crosscam export'" in err) == (2, True)
        Extractor.load(place / name)


def test_torchscript_is_warned_of(crosscam: Run, place: Path):
    torch.jit.trace(convolution(), torch.zeros(1, 3, HEIGHT, WIDTH)).save(place / "net.pt")
    status, _, err = crosscam(f"import-network net.pt --input '{RGB}'")
    assert status == 0
    assert "A TorchScript file is a program" in err
