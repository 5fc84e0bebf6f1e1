"""Protocols of domain generalization, and the readers that only they need."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscam.data.datasets.joining import PROTOCOLS, generalize
from crosscam.data.datasets.readers import READERS, read_dataset
from crosscam.data.records import ReidDataset, Sample, unmatched_queries
from crosscam.errors import DataError


def made(kind: str, first: int) -> ReidDataset:
    """Person 1 trains, person 2 is tested; the gallery has a distractor."""

    def sample(name: str, pid: int, camid: int) -> Sample:
        return Sample(Path(f"/data/{kind}/{name}.jpg"), pid, camid)

    query, gallery = (sample("q", 2, 1),), (sample("d", 0, 2), sample("g", 2, 2))
    protocol = "cuhk03" if kind == "cuhk03" and first else "market1501"
    return ReidDataset(kind, Path(f"/data/{kind}"), (sample("t", 1, 1),), query, gallery, protocol)


def test_every_kind_has_a_reader() -> None:
    for protocol in PROTOCOLS.values():
        assert {*protocol.kinds, *protocol.tested} <= READERS.keys()


def test_the_others_train_and_one_is_tested() -> None:
    four = {kind: made(kind, 0) for kind in ("market1501", "dukemtmc-reid", "cuhk03", "msmt17")}
    dataset = generalize("m3l", "market1501", four)
    assert [s.path.parent.name for s in dataset.train] == ["dukemtmc-reid", "cuhk03", "msmt17"]
    assert len({s.pid for s in dataset.train}) == 3
    assert {s.path.parent.name for s in (*dataset.query, *dataset.gallery)} == {"market1501"}
    assert not unmatched_queries(dataset)
    assert any("dukemtmc-reid, cuhk03, msmt17 train, market1501 is tested" in note for note in dataset.notes)


def test_all_images_of_the_sources_train_where_the_protocol_says_so() -> None:
    found = {kind: made(kind, int(kind == "cuhk03")) for kind in ("market1501", "cuhk02", "cuhk03", "viper")}
    sysu = made("cuhk-sysu", 0)
    found["cuhk-sysu"] = ReidDataset("cuhk-sysu", sysu.root, sysu.train)
    dataset = generalize("protocol-1", "viper", found)
    assert len(dataset.train) == 3 * 3 + 1
    assert len({s.pid for s in dataset.train}) == 3 * 2 + 1
    assert all(s.pid > 0 for s in dataset.train)


def test_what_does_not_fit_is_refused() -> None:
    four = {kind: made(kind, 0) for kind in ("market1501", "dukemtmc-reid", "cuhk03")}
    with pytest.raises(DataError, match="msmt17 is missing"):
        generalize("m3l", "market1501", four)
    with pytest.raises(DataError, match="viper takes no part in it"):
        generalize("m3l", "market1501", four | {"msmt17": made("msmt17", 0), "viper": made("viper", 0)})
    with pytest.raises(ValueError, match="Expected one of dimn, m3l"):
        generalize("m3", "market1501", four)
    with pytest.raises(ValueError, match=r"m3l tests market1501, .*, not 'viper'"):
        generalize("m3l", "viper", four)


def test_ilids_draws_two_images_of_a_person(tmp_path: Path) -> None:
    folder = tmp_path / "Persons"
    folder.mkdir()
    for pid, count in ((1, 3), (2, 2), (3, 4), (4, 2), (5, 2)):
        for image in range(1, count + 1):
            (folder / f"{pid:04}{image:03}.jpg").touch()
    dataset = read_dataset(tmp_path)
    assert dataset.name == "ilids"
    assert len({s.pid for s in dataset.train}) == 2
    assert [s.pid for s in dataset.query] == [s.pid for s in dataset.gallery]
    assert not {s.path for s in dataset.query} & {s.path for s in dataset.gallery}
    assert not {s.pid for s in dataset.query} & {s.pid for s in dataset.train}
    assert not unmatched_queries(dataset)
    assert len({read_dataset(tmp_path, split=k).query for k in range(6)}) > 1
    for path in folder.glob("*00[2-9].jpg"):
        path.unlink()
    with pytest.raises(DataError, match="Fewer than two people"):
        read_dataset(tmp_path)


def test_cuhk_sysu_is_for_training(tmp_path: Path) -> None:
    (tmp_path / "cropped_images").mkdir()
    for name in ("p1_s10_1.jpg", "p1_s20_2.jpg", "p7_s20_1.jpg", "other.jpg"):
        (tmp_path / "cropped_images" / name).touch()
    dataset = read_dataset(tmp_path)
    assert dataset.name == "cuhk-sysu"
    assert [s.pid for s in dataset.train] == [1, 1, 7]
    assert any("other.jpg" in note for note in dataset.notes)
