"""What a user can do wrong, each with its one line (issue 2, must-show 7). The cases stand in docs/make_errors.py."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

Run = Callable[[str], tuple[int, str, str]]
Found = dict[str, tuple[int, str]]

# For each case: what, where, and the next step.
EXPECTED = {
    "A folder that is not there": ("No dataset at nowhere", "Check the path"),
    "A folder that is not a dataset": ("empty is not a dataset", "Expected one of", "docs/datasets.md"),
    "Several datasets": ("sets holds several datasets: a, b", "Give the path of one"),
    "An empty training split": ("training subset of blank is empty", "crosscam data doctor"),
    "An empty query": ("query of unasked is empty", "crosscam data holdout"),
    "No camera numbers in folders": ("own does not say which camera", "--camids"),
    "No camera numbers in a table": ("own.csv does not say which camera", "column camid"),
    "A table that names a missing image": ("gone.csv", "a.jpg", "Paths count from the table's folder"),
    "A label that is missing": ("gap.csv, line 2: no pid", "'nan'", "Fill it in"),
    "No query with a match": ("No query of people", "from another camera", "Check pids and camids"),
    "A gallery too small for re-ranking": ("k1 is 20", "Expected 1 to 15", "a larger gallery"),
    "A place that cannot be written": ("people is a folder", "Expected the name of a file"),
    "An absurd size": ("data.width=1000000", "expected at most 4,096"),
    "One identity": ("lonely has one training identity", "at least two"),
    "Fewer images than K": ("few has 16 training images", "40", "set data.batch_images lower"),
    "Fewer identities than P": ("people has 4 training identities", "16", "--set data.batch_ids=4"),
    "A kind that is unknown": ("marktet1501", "Did you mean market1501?"),
    "A folder that is taken": ("people exists", "Give a new folder"),
    "A hold-out that leaves nobody": ("num_train_ids=9", "expected 1 to 3"),
    "A hold-out in a format that is unknown": ("cut.xls", ".csv, .tsv, .parquet"),
    "Truncated": ("1 of 16 images cannot be read", "torn/", "damaged or cut short", "Copy or download it again"),
    "Zero bytes": ("1 of 16", "void/", "is empty (0 bytes)", "Copy or download it again"),
    "50,000 x 50,000 pixels": ("1 of 16", "huge/", "more than 64,000,000 pixels", "Crop the person out"),
    "A text file named .jpg": ("1 of 16", "text/", "is not an image that can be read", "expected JPEG"),
    "A link to nothing": ("1 of 16", "No image at broken/", "Check the path"),
    "No images to describe": ("No images in empty", "Expected files in .jpg"),
    "An image that cannot be read": ("1 of 32 images", "torn/", "Copy or download it again"),
    "No run folder": ("No recipe.json in nowhere", "Expected a run folder"),
    "A run folder without weights": ("No weights.safetensors in bare", "Expected a run folder"),
    "Weights of another recipe": ("mixed/weights.safetensors does not fit its recipe", "of one training together"),
    "Weights that are damaged": ("torn-run/weights.safetensors is damaged", "copy the file again"),
    "A file that is no export": ("note.onnx cannot be opened", "Export it again"),
    "An export of int8 without images": ("int8 takes its ranges from images", "--calibration"),
    "An engine that is unknown": ("'openvno'", "Did you mean openvino?"),
    "A folder that holds a training": ("run already holds a training", "--resume"),
    "Going on with another recipe": ("data.height=32 (now 128)", "Resume with the same settings"),
    "Going on with other data": ("run was trained on other data", "Resume with the same data"),
    "The authors' checkpoint": ("evil.pth", "asks to call", "mkdir", "Nothing in it was run"),
    "The state of a training": ("evil/state.pt cannot be read", "Nothing was run"),
    "ImageNet weights": ("imagenet.pth is not a plain weights file", "Nothing in it was run", "ImageNet file"),
    "A pickle with another name": ("imagenet.safetensors is not a plain weights file", "Nothing in it was run"),
    "A file that is no checkpoint": ("note.pth is not a file that torch.save wrote",),
    "A gallery that is not there": ("No gallery at nowhere", "crosscam gallery create"),
    "A folder that is taken by something else": ("people is taken", "empty or missing folder"),
    "Nothing that says whom to forget": ("Nothing says what to forget", "Give a condition"),
    "A time span that is none": ("'soon'", "such as 30d"),
    "An address without a collection": ("not a valid gallery address", "milvus://HOST:PORT/COLLECTION"),
    "Too few labeled images": ("48 pairs of different people", "expected 30,000", "Give --fmr 0.63"),
    "Images that the network was trained on": ("trained on seen", "crosscam data holdout"),
    "Nothing to serve": ("No gallery at nowhere",),
    "An address that others can reach": ("0.0.0.0 needs a token", "--token-file"),
    "A token that is too short": ("Line 1 of token", "at least 16 characters"),
    "While training": ("crowded/state.pt", "No space left on device", "Free some space", "--resume"),
    "While extracting": ("crowded.npz", "No space left on device", "Free some space"),
    "A command that is unknown": ("'trian'", "Did you mean train?"),
    "An option that is unknown": ("--dta", "Did you mean --data?"),
    "A setting typed as an option": ("--epochs", "Did you mean --set train.epochs=VALUE?"),
    "Something missing": ("RECIPE, --data PATH", "crosscam train --help"),
    "A value of the wrong kind": ("--ids", "expected a whole number, found 'many'"),
    "A block that is unknown": (
        "No body part or block 'p2.loca1'",
        "Did you mean p2.local1?",
        "feet, whole, p2.local1",
    ),
    "A recipe that is unknown": ("'rrid'", "Did you mean rrid-"),
    "A setting that is unknown": ("train.epoch", "Did you mean train.epochs?"),
    "A setting's value of the wrong kind": ("train.epochs=many", "expected a whole number"),
    "A setting's value out of range": ("train.epochs=0", "expected at least 1"),
    "A height that does not fit the stripes": ("height of 100", "6 stripes", "multiple of 96"),
}


@pytest.fixture(scope="module")
def found(make_errors: ModuleType) -> Found:
    """What every case printed; no case may run what an unsafe file asks for."""
    result: Found = make_errors.provoke_all()
    return result


@pytest.mark.parametrize("title", EXPECTED)
def test_one_line(title: str, found: Found) -> None:
    status, said = found[title]
    assert status == 2
    assert said.startswith("crosscam: ")
    assert said.endswith(".")
    assert "\n" not in said
    assert [phrase for phrase in EXPECTED[title] if phrase not in said] == []


def test_every_case_is_expected(found: Found) -> None:
    assert set(found) == set(EXPECTED)


def test_the_page_shows_what_is_printed(found: Found, make_errors: ModuleType) -> None:
    """Numbers inside damaged files depend on Pillow's version; all else must agree."""
    written, now = (
        re.sub(r"\(image file is truncated.*?\)", "", text)
        for text in (make_errors.PAGE.read_text(), make_errors.page(found))
    )
    assert written == now, "run: python docs/make_errors.py"


@pytest.mark.parametrize("name", ["truncate", "empty_file", "write_huge_png", "text_file", "vanish"])
def test_the_doctor_finds_each_damaged_image(name: str, make_errors: ModuleType, place: Path, crosscam: Run) -> None:
    spoiled = min((place / "people/bounding_box_train").iterdir())
    getattr(make_errors, name)(spoiled)
    status, out, err = crosscam("data doctor people")
    assert status == 1
    assert "1 image cannot be read" in out
    assert f"bounding_box_train/{spoiled.name}" in out
    assert err == ""


def test_debug_shows_where(crosscam: Run) -> None:
    from crosscam.errors import DataError

    with pytest.raises(DataError, match="No dataset at nowhere"):
        crosscam("data doctor nowhere --debug")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.name == "posix" and os.geteuid() == 0
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("not permitted to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_training_on_a_disk_that_fills_up(small_disk: Path, tiny: str, crosscam: Run) -> None:
    status, out, err = crosscam(f"train demo --data people --out disk/run {tiny}")
    assert status == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("crosscam: Cannot write disk/run/")
    assert "No space left on device" in err
    assert not list((small_disk / "run").glob("*.tmp"))
