from __future__ import annotations

import os
from pathlib import Path

import pytest

from crosscam.data.datasets.readers import READERS, read_dataset, recognize
from crosscam.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


MARKET = ("bounding_box_train/0002_c1s1_1_0.jpg", "query/0003_c1s1_1_0.jpg", "bounding_box_test/0003_c2s1_1_0.jpg")
LAYOUTS = {
    "market1501": MARKET,
    "rendered": (*MARKET, "identities.json"),
    "dukemtmc-reid": tuple(name.replace("s1_1_0", "_f0001") for name in MARKET),
    "viper": ("cam_a/000_45.bmp", "cam_b/000_90.bmp", "cam_a/001_45.bmp", "cam_b/001_90.bmp"),
    "cuhk01": tuple(f"campus/000{person}00{view}.png" for person in (1, 2) for view in range(1, 5)),
    "cuhk03-pair": ("labeled/train/0000_00.jpg", "labeled/val/0000_00.jpg", "labeled/val/0000_05.jpg"),
    "prid2011": tuple(f"single_shot/cam_{c}/person_000{person}.png" for c in "ab" for person in (1, 2)),
    "cuhk02": tuple(f"P{k}/cam{c}/{k}01_1.png" for k in (1, 5) for c in (1, 2)),
    "partial-reid": ("partial_body_images/001_001.jpg", "whole_body_images/001_001.jpg", "occluded_body_images/x.jpg"),
    "occluded-reid": ("occluded_body_images/001/001_01.tif", "whole_body_images/001/001_01.tif"),
    "cuhk03": tuple(f"labeled/{name}" for name in MARKET),
    "ilids": tuple(f"i-LIDS_Pedestrian/Persons/{p:04}{v:03}.jpg" for p in range(1, 5) for v in (1, 2, 3)),
    "ilids-vid": tuple(f"sequences/cam{c}/person00{person}/1.png" for c in (1, 2) for person in (1, 2)),
    "prid2011-video": tuple(
        f"multi_shot/cam_{c}/person_000{person}/{frame}.png" for c in "ab" for person in (1, 2) for frame in range(27)
    ),
    "p-dukemtmc-reid": tuple(
        f"{part}/{hidden}_body_images/0001/0001_c1.jpg"
        for part in ("train", "test")
        for hidden in ("occluded", "whole")
    ),
    "last": (
        "train/01/01_a_1.jpg",
        *(f"{part}/{where}/02_a_1.jpg" for part in ("test", "val") for where in ("query", "gallery")),
    ),
    "celeb-reid": tuple(f"{part}/1_2_0.jpg" for part in ("train", "query", "gallery")),
}


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("place", [".", "download"])
def test_every_layout_is_recognised_in_place_and_from_its_parent(tmp_path: Path, kind: str, place: str) -> None:
    touch(tmp_path / place, *LAYOUTS[kind])
    assert recognize(tmp_path) == (kind, tmp_path / place)
    dataset = read_dataset(tmp_path)
    assert dataset.name.startswith(kind)
    assert dataset.query
    assert dataset == read_dataset(tmp_path, kind=kind)


@pytest.mark.parametrize("spelling", ["market1501", "Market-1501-v15.09.15", "data"])
def test_spellings_of_market(tmp_path: Path, spelling: str) -> None:
    touch(tmp_path / spelling, *MARKET)
    assert read_dataset(tmp_path / spelling) == read_dataset(str(tmp_path))


def test_table_and_folders(tmp_path: Path) -> None:
    touch(tmp_path / "own", "ann/c1_0.jpg", "bob/c2_0.jpg")
    (tmp_path / "own.csv").write_text("path,pid,camid\nown/ann/c1_0.jpg,1,1\nown/bob/c2_0.jpg,2,2\n")
    table = read_dataset(tmp_path / "own.csv")
    folders = read_dataset(tmp_path / "own", camids="c([0-9])")
    assert table.train == folders.train
    with pytest.raises(DataError, match="State it: camids=0"):
        read_dataset(tmp_path / "own")


def test_msmt17(tmp_path: Path) -> None:
    touch(tmp_path, "train/0000/0000_000_01_a.jpg", "test/0000/0000_000_02_a.jpg")
    (tmp_path / "list_train.txt").write_text("0000/0000_000_01_a.jpg 0\n")
    for name in ("list_query.txt", "list_gallery.txt"):
        (tmp_path / name).write_text("0000/0000_000_02_a.jpg 0\n")
    # train/0000 and test/0000 would also fit a folder for each identity.
    assert read_dataset(tmp_path).name == "msmt17"


def test_options_reach_the_reader_and_senseless_ones_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "v", *LAYOUTS["viper"])
    touch(tmp_path / "m", *MARKET)
    assert len(read_dataset(tmp_path / "v", protocol="all").query) == 2
    assert any("Split 7" in note for note in read_dataset(tmp_path / "v", split=7).notes)
    for option in ({"split": 0}, {"protocol": "all"}, {"camids": 0}, {"boxes": "labeled"}):
        with pytest.raises(ValueError, match="means nothing for market1501"):
            read_dataset(tmp_path / "m", **option)


def test_paths_are_absolute_and_free_of_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "m", *MARKET)
    monkeypatch.chdir(tmp_path)
    dataset = read_dataset("./m/../m")
    assert dataset == read_dataset(tmp_path / "m")
    assert os.path.isabs(dataset.train[0].path)


def test_fingerprint_of_a_copy(tmp_path: Path) -> None:
    for place in ("one", "two/deep"):
        touch(tmp_path / place, *MARKET)
    assert read_dataset(tmp_path / "one").fingerprint() == read_dataset(tmp_path / "two/deep").fingerprint()
    touch(tmp_path / "one", "query/0004_c1s1_1_0.jpg")
    assert read_dataset(tmp_path / "one").fingerprint() != read_dataset(tmp_path / "two/deep").fingerprint()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No dataset at .*none"):
        read_dataset(tmp_path / "none")
    with pytest.raises(DataError, match="not a dataset that crosscam knows"):
        read_dataset(tmp_path)
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match="not a dataset that crosscam knows"):
        read_dataset(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="Unknown kind of dataset 'market'"):
        read_dataset(tmp_path, kind="market")
    touch(tmp_path / "a", *MARKET)
    with pytest.raises(DataError, match="Expected viper"):
        read_dataset(tmp_path, kind="viper")
    touch(tmp_path / "b", *LAYOUTS["viper"])
    with pytest.raises(DataError, match="several datasets: a, b"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, kind="viper").name == "viper"


def test_all_kinds_are_covered_here() -> None:
    assert set(READERS) == {*LAYOUTS, "cuhk-sysu", "grid", "mars", "msmt17", "table", "folders", "cameras", "images"}


def test_unknown_cameras_are_told(tmp_path: Path) -> None:
    table = touch(tmp_path, "a.jpg") / "t.csv"
    table.write_text("path,pid,camid\na.jpg,1,-1\nb.jpg,1,2\nc.jpg,2,-1\n")
    (warning,) = [note for note in read_dataset(table).notes if note.startswith("warning: ")]
    assert "2 images with a negative camera number" in warning
    table.write_text("path,pid,camid\na.jpg,1,0\nb.jpg,1,2\n")
    assert not [note for note in read_dataset(table).notes if note.startswith("warning: ")]
