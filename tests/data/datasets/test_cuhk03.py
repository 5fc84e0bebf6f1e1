from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam.data.datasets.cuhk03 import is_cuhk03, is_cuhk03_pair, read_cuhk03, read_cuhk03_pair
from crosscam.data.images import decode_image
from crosscam.errors import DataError

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")

PAIR_SIZES = (3, 2, 1)
EMPTY = {(1, 2, 5), (2, 1, 10)}  # (pair, person, view): MATLAB's empty cells
TEST_SETS = [[(1, 2), (2, 1)], [(3, 1), (1, 1)]]


def pixels(pair: int, person: int, view: int) -> np.ndarray:
    """(6, 4, 3) of which no axis can be exchanged unseen."""
    image = np.arange(72, dtype=np.uint8).reshape(6, 4, 3)
    return image + np.uint8(10 * pair + 3 * person + view)


def write_mat(path: Path) -> None:
    """The structure of cuhk-03.mat: cells are references, and every array is stored transposed."""
    with h5py.File(path, "w") as file:
        store = file.create_group("#refs#")

        def cell(name: str, content: np.ndarray) -> h5py.Reference:
            return store.create_dataset(name, data=content).ref

        for boxes in ("labeled", "detected"):
            pairs = np.empty((1, len(PAIR_SIZES)), dtype=h5py.ref_dtype)
            for pair, size in enumerate(PAIR_SIZES, start=1):
                people = np.empty((10, size), dtype=h5py.ref_dtype)
                for person in range(1, size + 1):
                    for view in range(1, 11):
                        empty = (pair, person, view) in EMPTY
                        content = np.zeros(2, np.uint64) if empty else pixels(pair, person, view).T
                        people[view - 1, person - 1] = cell(f"{boxes}{pair}_{person}_{view}", content)
                pairs[0, pair - 1] = store.create_dataset(f"{boxes}{pair}", data=people, dtype=h5py.ref_dtype).ref
            file.create_dataset(boxes, data=pairs, dtype=h5py.ref_dtype)
        sets = np.empty((1, len(TEST_SETS)), dtype=h5py.ref_dtype)
        for i, people in enumerate(TEST_SETS):
            sets[0, i] = cell(f"test{i}", np.array(people, dtype=np.float64).T)
        file.create_dataset("testsets", data=sets, dtype=h5py.ref_dtype)


def all_names() -> list[str]:
    return [
        f"{pair}_{person:03}_{1 if view <= 5 else 2}_{view:02}.png"
        for pair, size in enumerate(PAIR_SIZES, start=1)
        for person in range(1, size + 1)
        for view in range(1, 11)
        if (pair, person, view) not in EMPTY
    ]


def pid_of(name: str) -> int:
    pair, person = (int(field) for field in name.split("_")[:2])
    return sum(PAIR_SIZES[: pair - 1]) + person


def write_config(path: Path, names: list[str]) -> dict[str, list[int]]:
    """Fields, shapes and types of cuhk03_new_protocol_config_*.mat; indices count from 1."""
    train = [i for i, name in enumerate(names, start=1) if pid_of(name) <= 3]
    query = [i for i, name in enumerate(names, start=1) if pid_of(name) > 3 and name[-6:-4] in ("01", "06")]
    gallery = [i for i, name in enumerate(names, start=1) if i not in train and i not in query]
    filelist = np.empty((len(names), 1), dtype=object)
    for i, name in enumerate(names):
        filelist[i, 0] = name
    scipy_io.savemat(
        path,
        {
            "filelist": filelist,
            "labels": np.array([[pid_of(name)] for name in names], dtype=np.uint16),
            "camId": np.array([[int(name.split("_")[2])] for name in names], dtype=np.uint8),
            "train_idx": np.array([train], dtype=np.uint16).T,
            "query_idx": np.array([query], dtype=np.uint16).T,
            "gallery_idx": np.array([gallery], dtype=np.uint16).T,
        },
    )
    return {"train": train, "query": query, "gallery": gallery}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_mat(tmp_path / "cuhk-03.mat")
    for boxes in ("labeled", "detected"):
        write_config(tmp_path / f"cuhk03_new_protocol_config_{boxes}.mat", all_names())
    return tmp_path


def test_every_image_is_extracted_upright(raw: Path) -> None:
    read_cuhk03(raw, boxes="labeled")
    files = sorted((raw / "images_labeled").iterdir())
    assert [f.name for f in files] == all_names()
    for file in files:
        pair, person, _, view = (int(field) for field in file.stem.split("_"))
        np.testing.assert_array_equal(decode_image(file), pixels(pair, person, view))
    assert not list(raw.glob("*.part"))


def test_new_protocol(raw: Path) -> None:
    names = all_names()
    wanted = write_config(raw / "cuhk03_new_protocol_config_detected.mat", names)
    dataset = read_cuhk03(raw / "cuhk-03.mat", boxes="detected", extract_to=raw / "elsewhere")
    assert dataset.name == "cuhk03-detected"
    assert dataset.protocol == "market1501"
    for subset, samples in dataset.subsets.items():
        assert [s.path.name for s in samples] == [names[i - 1] for i in wanted[subset]]
        assert all(s.path.parent == raw / "elsewhere" for s in samples)
        assert all(s.pid == pid_of(s.path.name) for s in samples)
        assert all(s.camid == (1 if int(s.path.stem[-2:]) <= 5 else 2) for s in samples)
    assert {s.pid for s in dataset.train} == {1, 2, 3}
    assert {s.pid for s in dataset.query} == {4, 5, 6}


@pytest.mark.parametrize("split", [0, 1])
def test_classic_protocol(raw: Path, split: int) -> None:
    for config in raw.glob("cuhk03_new*"):
        config.unlink()
    dataset = read_cuhk03(raw, boxes="labeled", protocol="cuhk03", split=split)
    tested = {sum(PAIR_SIZES[: pair - 1]) + person for pair, person in TEST_SETS[split]}
    assert dataset.protocol == "cuhk03"
    assert {s.pid for s in dataset.query} == {s.pid for s in dataset.gallery} == tested
    assert {s.pid for s in dataset.train} == set(range(1, 7)) - tested
    assert {s.camid for s in dataset.query} == {1}
    assert {s.camid for s in dataset.gallery} == {2}
    assert sum(map(len, dataset.subsets.values())) == len(all_names())


def test_images_are_extracted_once(raw: Path) -> None:
    read_cuhk03(raw, boxes="labeled")
    file = next((raw / "images_labeled").iterdir())
    before = file.stat().st_mtime_ns
    read_cuhk03(raw, boxes="labeled")
    assert file.stat().st_mtime_ns == before


def test_a_broken_off_extraction_leaves_no_folder(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    calls = []

    def full_disk(self: Image.Image, path: Path) -> None:
        calls.append(path)
        if len(calls) > 7:
            raise OSError(28, "No space left on device")
        path.write_bytes(b"x")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(DataError, match="No space left"):
        read_cuhk03(raw, boxes="labeled")
    monkeypatch.undo()
    assert not list(raw.glob("images_labeled*"))
    assert len(read_cuhk03(raw, boxes="labeled").train) == 29


def test_a_folder_with_lost_images_is_refused(raw: Path) -> None:
    read_cuhk03(raw, boxes="labeled")
    (raw / "images_labeled" / "1_001_1_01.png").unlink()
    with pytest.raises(DataError, match=r"57 images.*58.*1_001_1_01\.png"):
        read_cuhk03(raw, boxes="labeled")


def test_what_must_be_stated(raw: Path) -> None:
    assert is_cuhk03(raw)
    assert is_cuhk03(raw / "cuhk-03.mat")
    with pytest.raises(DataError, match="boxes='labeled' or boxes='detected'"):
        read_cuhk03(raw)
    with pytest.raises(ValueError, match="boxes"):
        read_cuhk03(raw, boxes="drawn")
    with pytest.raises(ValueError, match="protocol"):
        read_cuhk03(raw, boxes="labeled", protocol="new")
    with pytest.raises(ValueError, match="0 to 1"):
        read_cuhk03(raw, boxes="labeled", protocol="cuhk03", split=2)
    with pytest.raises(ValueError, match="one split"):
        read_cuhk03(raw, boxes="labeled", split=2)


def test_damaged_files(raw: Path) -> None:
    config = raw / "cuhk03_new_protocol_config_labeled.mat"
    config.write_bytes(b"MATLAB 5.0 MAT-file" + b"\0" * 300)
    with pytest.raises(DataError, match="config_labeled"):
        read_cuhk03(raw, boxes="labeled")
    scipy_io.savemat(config, {"labels": np.ones((2, 1))})
    with pytest.raises(DataError, match="filelist"):
        read_cuhk03(raw, boxes="labeled")
    config.unlink()
    with pytest.raises(DataError, match="protocol='cuhk03' does not"):
        read_cuhk03(raw, boxes="labeled")
    (raw / "cuhk-03.mat").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        read_cuhk03(raw, boxes="detected")


def make_np(root: Path) -> None:
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder).mkdir(parents=True)
        (root / folder / "0004_c2_9.png").touch()


def test_np_folders(tmp_path: Path) -> None:
    for boxes in ("labeled", "detected"):
        make_np(tmp_path / "cuhk03-np" / boxes)
    both = tmp_path / "cuhk03-np"
    assert is_cuhk03(both)
    assert is_cuhk03(both / "labeled")
    with pytest.raises(DataError, match="State boxes"):
        read_cuhk03(both)
    for boxes in ("labeled", "detected"):
        assert read_cuhk03(both / boxes) == read_cuhk03(both, boxes=boxes)
        assert read_cuhk03(both / boxes).name == f"cuhk03-{boxes}"
    assert [(s.pid, s.camid) for s in read_cuhk03(both / "labeled").query] == [(4, 2)]
    with pytest.raises(DataError, match="holds labeled"):
        read_cuhk03(both / "labeled", boxes="detected")
    with pytest.raises(DataError, match="classic protocol needs"):
        read_cuhk03(both, boxes="labeled", protocol="cuhk03")


def test_np_folder_with_one_kind_of_boxes_needs_no_statement(tmp_path: Path) -> None:
    make_np(tmp_path / "detected")
    assert read_cuhk03(tmp_path).name == "cuhk03-detected"
    with pytest.raises(DataError, match="No labeled boxes"):
        read_cuhk03(tmp_path, boxes="labeled")


def test_camera_pair(tmp_path: Path) -> None:
    for folder, people in (("train", 3), ("val", 2)):
        (tmp_path / "labeled" / folder).mkdir(parents=True)
        for person in range(people):
            for view in (0, 4, 5, 9):
                (tmp_path / "labeled" / folder / f"{person:04}_{view:02}.jpg").touch()
    assert is_cuhk03_pair(tmp_path)
    assert is_cuhk03_pair(tmp_path / "labeled")
    assert not is_cuhk03_pair(tmp_path / "labeled" / "train")
    dataset = read_cuhk03_pair(tmp_path)
    assert {s.pid for s in dataset.train} == {1, 2, 3}
    assert [(s.path.stem, s.pid, s.camid) for s in dataset.query] == [
        ("0000_00", 4, 1),
        ("0000_04", 4, 1),
        ("0001_00", 5, 1),
        ("0001_04", 5, 1),
    ]
    assert {(s.path.stem[-2:], s.camid) for s in dataset.gallery} == {("05", 2), ("09", 2)}
    assert read_cuhk03_pair(tmp_path / "labeled").subsets == dataset.subsets
