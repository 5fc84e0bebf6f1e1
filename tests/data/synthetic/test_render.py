from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosscam.data.datasets.market1501 import read_market1501
from crosscam.data.records import Sample
from crosscam.data.synthetic.dataset import RenderSummary, render_dataset
from crosscam.errors import DataError, StorageError


def render(out: Path, **changes: float | int | None) -> RenderSummary:
    """Render a small dataset; the named arguments differ from the usual ones."""
    arguments = {"ids": 10, "cameras": 3, "images": 3, "collide": 0.5, "seed": 4, "processes": 1} | changes
    return render_dataset(out, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered") / "set"
    render(out)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_the_summary_counts_what_the_reader_finds(tmp_path: Path) -> None:
    done = render(tmp_path / "set", ids=30, images=4)
    dataset = read_market1501(done.out)
    assert len(dataset.train) == done.train
    assert len(dataset.query) == done.query
    assert len(dataset.gallery) == done.gallery
    assert len({s.pid for s in dataset.train}) == done.train_ids == 18
    assert len({s.pid for s in dataset.query}) == done.test_ids == 12
    assert sum(s.pid == 0 for s in dataset.gallery) == done.distractors > 0
    assert sum(s.pid == -1 for s in dataset.gallery) == done.junk > 0


def test_identities_are_disjoint_and_each_query_has_a_match_at_another_camera(folder: Path) -> None:
    dataset = read_market1501(folder)
    assert not {s.pid for s in dataset.train} & {s.pid for s in (*dataset.query, *dataset.gallery)}
    for query in dataset.query:
        assert any(s.pid == query.pid and s.camid != query.camid for s in dataset.gallery)
    places = [(s.pid, s.camid) for s in dataset.query]
    assert len(places) == len(set(places))


def test_images_are_jpegs_of_128_by_64(folder: Path) -> None:
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 128))


def test_the_table_of_identities_agrees_with_the_files(folder: Path) -> None:
    table = json.loads((folder / "identities.json").read_text())
    dataset = read_market1501(folder)
    seen: dict[int, set[int]] = {}
    for sample in (*dataset.train, *dataset.query, *dataset.gallery):
        seen.setdefault(sample.pid, set()).add(sample.camid)
    assert {row["pid"]: set(row["cameras"]) for row in table["identities"]} == {
        pid: camids for pid, camids in seen.items() if pid > 0
    }
    trained = {s.pid for s in dataset.train}
    assert {row["pid"] for row in table["identities"] if row["subset"] == "train"} == trained
    groups: dict[int, list[dict[str, object]]] = {}
    for row in table["identities"]:
        if row["group"] is not None:
            groups.setdefault(row["group"], []).append(row)
    assert groups
    for members in groups.values():
        assert len(members) >= 2
        part = str(members[0]["shares"])
        assert all(row["shares"] == part and row[part] == members[0][part] for row in members)


def test_the_bytes_depend_on_the_seed_and_not_on_the_processes(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    done = render(one, ids=24)
    assert done.train + done.query + done.gallery >= 200, "too few images for more than one process"
    render(two, ids=24, processes=2)
    assert files(one) == files(two)
    render(other, ids=24, seed=5)
    assert files(one).keys() != files(other).keys()


def test_the_dial_changes_no_image_of_those_who_share_nothing(folder: Path, tmp_path: Path) -> None:
    render(tmp_path / "set", collide=0.0)
    table = json.loads((folder / "identities.json").read_text())
    unique = {f"{row['pid']:04d}" for row in table["identities"] if row["shares"] is None}
    before, after = files(tmp_path / "set"), files(folder)
    images = {name for name in before if name.endswith(".jpg")}
    assert images == {name for name in after if name.endswith(".jpg")}
    same = {name for name in images if before[name] == after[name]}
    others = {name.split("/")[1][:4] for name in images - same}
    assert unique
    assert others
    assert not others & unique


def test_progress_ends_with_all_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    done = render_dataset(
        tmp_path / "set",
        ids=4,
        cameras=2,
        images=2,
        collide=0.0,
        seed=0,
        processes=1,
        progress=lambda written, total: calls.append((written, total)),
    )
    total = done.train + done.query + done.gallery
    assert calls[-1] == (total, total)
    assert [written for written, _ in calls] == sorted(written for written, _ in calls)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ids", 3),
        ("ids", 1501),
        ("cameras", 1),
        ("cameras", 10),
        ("images", 1),
        ("images", 100),
        ("collide", -0.1),
        ("collide", 1.1),
        ("collide", float("nan")),
        ("test_share", 0.0),
        ("test_share", 1.0),
        ("processes", 0),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} [^\n]*got {value}\.$"):
        render(tmp_path / "set", **{name: value})
    assert not (tmp_path / "set").exists()


def _fill(out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")


def _be_a_file(out: Path) -> None:
    out.write_text("mine")


@pytest.mark.parametrize("spoil", [_fill, _be_a_file])
def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    out = tmp_path / "set"
    spoil(out)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="not an empty folder"):
        render(out)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_accepted(tmp_path: Path) -> None:
    assert render(tmp_path, ids=4, cameras=2, images=2).train > 0


def test_a_call_that_stops_leaves_no_part_of_a_dataset(tmp_path: Path) -> None:
    out = tmp_path / "set"

    def stop(done: int, total: int) -> None:
        assert not (out / "bounding_box_train").exists(), f"{done} of {total} images could be read as a dataset"
        if done > total // 2:
            raise KeyboardInterrupt

    arguments = {"ids": 4, "cameras": 2, "images": 2, "collide": 0.0, "seed": 0, "processes": 1}
    with pytest.raises(KeyboardInterrupt):
        render_dataset(out, progress=stop, **arguments)  # type: ignore[arg-type]
    assert list(out.iterdir()) == []
    # What a kill leaves is no dataset, and the next call removes it.
    (out / "drawn.0123456789ab.tmp" / "query").mkdir(parents=True)
    with pytest.raises(DataError):
        read_market1501(out)
    render_dataset(out, **arguments)  # type: ignore[arg-type]
    assert sorted(p.name for p in out.iterdir()) == [
        "bounding_box_test",
        "bounding_box_train",
        "identities.json",
        "query",
    ]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"^Cannot write [^\n]*set \(Not a directory\)[^\n]*$"):
        render(tmp_path / "file" / "set")


def test_raw_pixels_do_not_find_people_across_cameras(tmp_path: Path) -> None:
    render(tmp_path / "set", ids=50, images=2, collide=0.0, test_share=0.8)
    dataset = read_market1501(tmp_path / "set")
    gallery = [s for s in dataset.gallery if s.pid >= 0]
    pixels = np.stack([_pixels(s) for s in gallery])
    precisions = []
    for query in dataset.query:
        allowed = [k for k, s in enumerate(gallery) if (s.pid, s.camid) != (query.pid, query.camid)]
        distances = np.linalg.norm(pixels[allowed] - _pixels(query), axis=1)
        hits = [gallery[allowed[k]].pid == query.pid for k in np.argsort(distances, kind="stable")]
        ranks = [rank for rank, hit in enumerate(hits, start=1) if hit]
        precisions.append(np.mean([found / rank for found, rank in enumerate(ranks, start=1)]))
    assert float(np.mean(precisions)) < 0.15


def _pixels(sample: Sample) -> np.ndarray:
    with Image.open(sample.path) as image:
        return np.asarray(image.resize((32, 64)), dtype=np.float64).ravel()
