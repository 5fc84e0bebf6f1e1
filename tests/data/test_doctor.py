from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crosscam import evaluate_ranking
from crosscam.data import findings
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.doctor import OFFICIAL, Counts, Examination, as_text, examine_dataset, table_rows
from crosscam.data.findings import NUM_EXAMPLES, Finding
from crosscam.data.records import ReidDataset, Sample, unmatched_queries
from crosscam.errors import DataError
from crosscam.experiments.scoring import ranking_labels


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def make(root: Path) -> Path:
    """A healthy set: two training people, two tested ones, two cameras."""
    seed = 0
    for folder, pids, images in (
        ("bounding_box_train", (1, 2), 2),
        ("query", (3, 4), 1),
        ("bounding_box_test", (3, 4), 1),
    ):
        for pid in pids:
            for camid in (1, 2):
                for i in range(images):
                    seed += 1
                    draw(root / folder / f"{pid:04}_c{camid}s1_{i:06}_00.png", seed)
    return root


def by_code(examination: Examination) -> dict[str, Finding]:
    return {finding.code: finding for finding in examination.findings}


def test_a_healthy_set(tmp_path: Path) -> None:
    examination = examine_dataset(read_dataset(make(tmp_path)))
    # It has Market-1501's layout, but not its counts; nothing else is to be said.
    assert set(by_code(examination)) == {"other_counts"}
    assert examination.healthy
    assert [(row.subset, row.found) for row in examination.subsets] == [
        ("train", Counts(2, 8, 2)),
        ("query", Counts(2, 4, 2)),
        ("gallery", Counts(2, 4, 2)),
    ]


def test_junk_and_distractors_are_counted_apart(tmp_path: Path) -> None:
    make(tmp_path)
    draw(tmp_path / "bounding_box_test" / "-1_c1s1_000000_00.png", 90)
    draw(tmp_path / "bounding_box_test" / "0000_c1s1_000000_00.png", 91)
    gallery = examine_dataset(read_dataset(tmp_path)).subsets[2]
    assert gallery.found == Counts(2, 5, 2)
    assert (gallery.junk, gallery.distractors) == (1, 1)
    rows = table_rows(examine_dataset(read_dataset(tmp_path)))
    assert rows[3] == ("gallery", "2 (750)", "5 (15,913) + 1 junk", "2 (6)")


def test_unreadable_images(tmp_path: Path) -> None:
    folder = make(tmp_path) / "bounding_box_train"
    (folder / "0001_c1s1_000007_00.jpg").write_text("hello")
    (folder / "0001_c1s1_000008_00.jpg").touch()
    whole = (folder / "0001_c1s1_000000_00.png").read_bytes()
    (folder / "0001_c1s1_000009_00.png").write_bytes(whole[: len(whole) // 2])
    examination = examine_dataset(read_dataset(tmp_path))
    finding = by_code(examination)["unreadable"]
    assert (finding.severity, finding.count) == ("error", 3)
    assert not examination.healthy
    text = " ".join(finding.examples)
    for expected in ("000007_00.jpg is not an image", "000008_00.jpg is empty", "000009_00.png is damaged"):
        assert f"bounding_box_train/0001_c1s1_{expected}" in text


@pytest.mark.parametrize(
    ("copy", "code"),
    [
        ("bounding_box_train/0001_c1s1_000005_00.png", "duplicates_within_subset"),
        ("bounding_box_train/0002_c1s1_000005_00.png", "duplicates_between_ids"),
        ("bounding_box_test/0001_c1s1_000005_00.png", "duplicates_between_subsets"),
        ("bounding_box_test/0003_c1s1_000005_00.png", "duplicates_between_ids"),
    ],
)
def test_duplicates(tmp_path: Path, copy: str, code: str) -> None:
    make(tmp_path)
    original = tmp_path / "bounding_box_train" / "0001_c1s1_000000_00.png"
    (tmp_path / copy).write_bytes(original.read_bytes())
    found = by_code(examine_dataset(read_dataset(tmp_path)))
    assert [c for c in found if c.startswith("duplicates")] == [code]
    assert found[code].count == 1
    assert "0001_c1s1_000000_00.png" in found[code].examples[0]
    assert copy in found[code].examples[0]


def test_identities_cameras_and_queries(tmp_path: Path) -> None:
    make(tmp_path)
    draw(tmp_path / "bounding_box_train" / "0009_c1s1_000000_00.png", 70)
    draw(tmp_path / "query" / "0002_c1s1_000000_00.png", 71)
    found = by_code(examine_dataset(read_dataset(tmp_path)))
    assert found["single_image_ids"].examples == ("pid 9",)
    assert found["unmatched_queries"].count == 1
    assert found["unmatched_queries"].severity == "warning"
    assert found["unmatched_queries"].examples == ("query/0002_c1s1_000000_00.png",)
    assert found["shared_ids"].examples == ("pid 2",)


def test_train_only_says_how_to_get_a_test(tmp_path: Path) -> None:
    draw(tmp_path / "bounding_box_train" / "0001_c1s1_000000_00.png", 1)
    found = by_code(examine_dataset(read_dataset(tmp_path)))
    assert "query, gallery" in found["empty_subset"].what
    assert "crosscam data holdout" in found["empty_subset"].cure
    assert found["one_identity"].severity == "error"
    assert found["one_camera"].count == 1


def test_unknown_cameras_and_no_match_at_all(tmp_path: Path) -> None:
    samples = [Sample(tmp_path / f"{i}.png", 1 + i // 2, -1) for i in range(4)]
    for i, s in enumerate(samples):
        draw(s.path, i)
    dataset = ReidDataset("own", tmp_path, query=tuple(samples[::2]), gallery=tuple(samples[1::2]))
    found = by_code(examine_dataset(dataset))
    assert found["unknown_cameras"].count == 4
    assert found["unmatched_queries"].severity == "error"
    assert "train" in found["empty_subset"].what


def test_examples_are_few(tmp_path: Path) -> None:
    make(tmp_path)
    for i in range(20):
        (tmp_path / "bounding_box_train" / f"0001_c1s1_1{i:05}_00.png").touch()
    finding = by_code(examine_dataset(read_dataset(tmp_path)))["unreadable"]
    assert finding.count == 20
    assert len(finding.examples) == NUM_EXAMPLES


def test_missing_images_of_a_table_are_found(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    (tmp_path / "t.csv").write_text("path,pid,camid\na.png,1,1\nb.png,2,2\n")
    finding = by_code(examine_dataset(read_dataset(tmp_path / "t.csv")))["unreadable"]
    assert finding.count == 1
    assert "No image at b.png" in finding.examples[0]


def test_to_dict_is_json_and_text_has_all(tmp_path: Path) -> None:
    make(tmp_path)
    draw(tmp_path / "bounding_box_train" / "0009_c1s1_000000_00.png", 70)
    examination = examine_dataset(read_dataset(tmp_path))
    assert json.loads(json.dumps(examination.to_dict()))["subsets"][0]["found"] == {"ids": 3, "images": 9, "cameras": 2}
    assert examination.to_dict()["healthy"] is True
    text = as_text(examination)
    for finding in examination.findings:
        assert finding.what in text
        assert finding.cure in text
    assert "train    3 (751)  9 (12,936)  2 (6)" in text


def test_progress_counts_every_image_once(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    examine_dataset(read_dataset(make(tmp_path)), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 16) for i in range(1, 17)]


def test_options_are_passed_on(tmp_path: Path) -> None:
    draw(tmp_path / "ann" / "1.png", 1)
    draw(tmp_path / "bob" / "1.png", 2)
    with pytest.raises(DataError, match="camids"):
        examine_dataset(read_dataset(tmp_path))
    assert examine_dataset(read_dataset(tmp_path, camids=3)).subsets[0].found == Counts(2, 2, 1)


def test_published_counts() -> None:
    images = {name: tuple(subset.images for subset in subsets.values()) for name, subsets in OFFICIAL.items()}
    assert images["market1501"] == (12_936, 3_368, 15_913)
    assert images["cuhk03-labeled"] == (7_368, 1_400, 5_328)
    assert images["cuhk03-detected"] == (7_365, 1_400, 5_332)
    assert images["dukemtmc-reid"] == (16_522, 2_228, 17_661)
    assert images["msmt17"][1:] == (11_659, 82_161)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_unmatched_queries_are_those_that_ranking_skips(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(name: str, count: int) -> tuple[Sample, ...]:
        labels = zip(rng.integers(-1, 3, count).tolist(), rng.integers(0, 3, count).tolist(), strict=True)
        return tuple(Sample(Path(f"{name}{i}.jpg"), pid, camid) for i, (pid, camid) in enumerate(labels))

    dataset = ReidDataset("t", Path("."), query=some("q", 6), gallery=some("g", 8))
    distances = rng.random((6, 8))
    try:
        skipped = evaluate_ranking(distances, *ranking_labels(dataset)).num_skipped
    except ValueError:
        skipped = 6
    assert len(unmatched_queries(dataset)) == skipped
    assert sum(f.count for f in findings.unmatched_queries(dataset)) == skipped


def test_queries_of_nobody_are_told_of() -> None:
    samples = [Sample(Path(f"{pid}_{camid}.jpg"), pid, camid) for pid in (-1, 0, 1) for camid in (1, 2)]
    dataset = ReidDataset("t", Path("."), query=tuple(samples[::2]), gallery=tuple(samples[1::2]))
    (finding,) = findings.unmatched_queries(dataset)
    assert (finding.count, finding.severity) == (2, "warning")
    assert "2 of them have pid -1 (junk) or 0 (distractor)" in finding.what
