from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from crosscam.calibration.calibration import Calibration, Origin
from crosscam.calibration.fitting import calibrate
from crosscam.data.datasets.camera_folders import tell_cameras
from crosscam.errors import DataError
from crosscam.experiments.photographs import (
    Searched,
    ahead_of_others,
    all_pairs,
    first_of_either,
    pair_of,
    search_photographs,
    similarity_spread,
)
from crosscam.gallery.calibrated import calibration_of, verdicts_of
from crosscam.gallery.entries import Entry
from crosscam.gallery.local import open_gallery
from crosscam.gallery.searching import SearchOptions
from crosscam.inference.extractor import Extractor
from small_models import tiny_rrid

SOURCE = Path("tiny")


@pytest.fixture
def extractor() -> Extractor:
    model, recipe = tiny_rrid()
    return Extractor(model, recipe)


def draw(path: Path, seed: int, shade: int = 0) -> Path:
    """Blocks of colors that the seed decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256 - shade, (6, 2, 3)) + shade
    Image.fromarray(blocks.astype(np.uint8)).resize((32, 96), Image.Resampling.NEAREST).save(path)
    return path


def people(folder: Path, count: int = 6) -> list[Path]:
    """The same people at two cameras, the second a little lighter."""
    return [draw(folder / f"{who:02}_c{camera}.png", who, 8 * camera) for who in range(count) for camera in (1, 2)]


def kept(found: Searched) -> tuple[list[Entry], NDArray[np.float64]]:
    """Entries of the gallery that was made, and their descriptors."""
    with open_gallery(str(found.gallery)) as gallery:
        entries = gallery.entries()
        return entries, gallery.descriptors([e.id for e in entries]).astype(np.float64)


def test_each_person_s_two_images_are_a_pair(tmp_path: Path, extractor: Extractor) -> None:
    notes: list[str] = []
    samples = tell_cameras(people(tmp_path / "in"), tmp_path / "in", None, notes)
    assert notes == ["Cameras by file names: 1, 2."]
    found = search_photographs(samples, SOURCE, extractor, tmp_path / "out", notes=notes)
    assert found.entries == 12
    assert {p.first.camid for p in found.pairs} | {p.second.camid for p in found.pairs} == {1, 2}
    assert all(p.first.camid != p.second.camid for p in found.pairs)
    for kind in (True, False):
        distances = [p.distance for p in found.pairs if p.stands_out is kind]
        assert distances == sorted(distances)
    assert found.pairs == tuple(sorted(found.pairs, key=lambda p: not p.stands_out))
    right = [Path(p.first.path).name[:2] == Path(p.second.path).name[:2] for p in found.pairs]
    assert sum(right) >= 5
    page = found.page.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64") == 2 * len(found.pairs)
    assert "Cameras by file names: 1, 2." in page
    likely = sum(p.stands_out for p in found.pairs)
    assert f"Likely the same person: {likely}" in page
    assert f"Look-alikes: {len(found.pairs) - likely}" in page


def test_pairs_are_mutual_neighbours_by_a_plain_loop(tmp_path: Path, extractor: Extractor) -> None:
    samples = tell_cameras(people(tmp_path / "in", 9), tmp_path / "in", None, [])
    found = search_photographs(samples, SOURCE, extractor, tmp_path / "out", shown=100)
    entries, rows = kept(found)
    with open_gallery(str(found.gallery)) as gallery:
        few = first_of_either(all_pairs(gallery), 2)
    for kind in (True, False):
        every = [p.first.id for p in found.pairs if p.stands_out is kind]
        assert [p.first.id for p in few if p.stands_out is kind] == every[:2]
    nearest = []
    for i, a in enumerate(entries):
        others = [j for j, b in enumerate(entries) if b.camid != a.camid]
        nearest.append(min(others, key=lambda j: float(np.linalg.norm(rows[i] - rows[j]))))
    expected = {(entries[i].id, entries[j].id) for i, j in enumerate(nearest) if nearest[j] == i and i < j}
    assert {(p.first.id, p.second.id) for p in found.pairs} == expected


def test_damaged_images_are_told_and_a_second_call_adds_nothing(tmp_path: Path, extractor: Extractor) -> None:
    paths = people(tmp_path / "in", 3)
    broken = tmp_path / "in" / "77_c1.png"
    broken.write_bytes(paths[0].read_bytes()[:40])
    samples = tell_cameras([*paths, broken], tmp_path / "in", None, [])
    first = search_photographs(samples, SOURCE, extractor, tmp_path / "out")
    assert [path for path, _ in first.damaged] == [broken]
    assert [f.code for f in first.findings if f.severity == "error"] == ["unreadable"]
    assert first.entries == 6
    second = search_photographs(samples, SOURCE, extractor, tmp_path / "out")
    assert (second.entries, len(second.pairs)) == (6, len(first.pairs))


def test_a_second_call_tells_what_is_said_otherwise_now_and_what_is_gone(tmp_path: Path, extractor: Extractor) -> None:
    samples = tell_cameras(people(tmp_path / "in", 3), tmp_path / "in", None, [])
    search_photographs(samples, SOURCE, extractor, tmp_path / "out")
    other = [replace(samples[0], camid=9), *samples[1:-1]]
    findings = search_photographs(other, SOURCE, extractor, tmp_path / "out").findings
    told = {f.code: (f.count, f.examples) for f in findings if f.code in ("changed", "differing", "gone")}
    assert told == {
        "differing": (1, (str(samples[0].path),)),
        "gone": (1, (str(samples[-1].path),)),
    }


def test_the_same_image_twice_is_no_pair(tmp_path: Path, extractor: Extractor) -> None:
    paths = people(tmp_path / "in", 2)
    copy = tmp_path / "in" / "00_c2.png"
    copy.write_bytes(paths[0].read_bytes())
    found = search_photographs(tell_cameras(paths, tmp_path / "in", None, []), SOURCE, extractor, tmp_path / "out")
    assert any(f.code.startswith("duplicate") for f in found.findings)
    assert all(p.distance > 0.01 for p in found.pairs)


def test_cameras_by_folder_by_rule_or_one_for_all(tmp_path: Path) -> None:
    paths = [draw(tmp_path / camera / f"{n}.png", n) for camera in ("door", "hall") for n in range(2)]
    notes: list[str] = []
    assert [s.camid for s in tell_cameras(paths, tmp_path, None, notes)] == [1, 1, 2, 2]
    assert notes == ["Each folder is a camera: door, hall."]
    assert [s.camid for s in tell_cameras(paths, tmp_path, "([0-9])[.]png", [])] == [0, 1, 0, 1]
    notes = []
    assert {s.camid for s in tell_cameras(paths[:2], tmp_path, None, notes)} == {1}
    assert "Nothing tells the cameras" in notes[0]


def test_one_camera_compares_all_images(tmp_path: Path, extractor: Extractor) -> None:
    paths = [draw(tmp_path / "in" / f"{n}{half}.png", n, 8 * (half == "b")) for n in range(4) for half in "ab"]
    samples = tell_cameras(paths, tmp_path / "in", None, [])
    found = search_photographs(samples, SOURCE, extractor, tmp_path / "out")
    assert sum(Path(p.first.path).name[0] == Path(p.second.path).name[0] for p in found.pairs) >= 3


def test_one_image_has_no_pair(tmp_path: Path, extractor: Extractor) -> None:
    samples = tell_cameras([draw(tmp_path / "in" / "a.png", 1)], tmp_path / "in", None, [])
    with pytest.raises(DataError, match="1 of 1 images can be read"):
        search_photographs(samples, SOURCE, extractor, tmp_path / "out")


def test_a_pair_stands_out_by_its_lead_over_the_next_images() -> None:
    # Cosine similarities 0.9, 0.5, 0.45, 0.4: ahead by 0.4.
    assert ahead_of_others(np.sqrt(2 - 2 * np.array([0.9, 0.5, 0.45, 0.4]))) == pytest.approx(0.4)
    # Two images of the same person: the gap behind the second counts.
    assert ahead_of_others(np.sqrt(2 - 2 * np.array([0.9, 0.88, 0.45, 0.4]))) == pytest.approx(0.43)
    assert ahead_of_others([0.1, 0.9]) == 0.0, "too few others to tell"


def test_verdicts_count_standard_deviations_of_all_similarities(tmp_path: Path, extractor: Extractor) -> None:
    samples = tell_cameras(people(tmp_path / "in", 9), tmp_path / "in", None, [])
    found = search_photographs(samples, SOURCE, extractor, tmp_path / "out", shown=100)
    entries, rows = kept(found)
    similarity = rows @ rows.T
    other = np.array([[a.camid != b.camid for b in entries] for a in entries])
    place = {e.id: n for n, e in enumerate(entries)}
    for pair in found.pairs:
        leads = []
        for n in (place[pair.first.id], place[pair.second.id]):
            best = np.sort(similarity[n][other[n]])[::-1]
            leads.append(max(best[k] - best[k + 1] for k in range(3)))
        assert pair.margin == pytest.approx(np.mean(leads) / similarity[other].std(), rel=1e-3)


def test_whole_scenes_are_told(tmp_path: Path, extractor: Extractor) -> None:
    paths = people(tmp_path / "in", 3)
    for path in paths[:3]:
        Image.new("RGB", (96, 64), "green").save(path)
    found = search_photographs(tell_cameras(paths, tmp_path / "in", None, []), SOURCE, extractor, tmp_path / "out")
    assert [f.what for f in found.findings if f.code == "scenes"] == [
        "Wider than high: 3 of 6 images, which looks like whole scenes."
    ]


def calibration(model: str) -> Calibration:
    """One of other cameras."""
    origin = Origin("elsewhere", "0" * 16, model)
    rows = np.random.default_rng(0).normal(size=(80, 8)).astype(np.float32)
    rows[1::2] = rows[::2] + 0.1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pids, camids = np.repeat(np.arange(1, 41), 2), np.tile([1, 2], 40)
    return calibrate(rows, pids, camids, origin, fmr=0.1, fnmr=0.99, replicates=2)


def test_the_gallery_carries_the_calibration_as_one_of_other_cameras(tmp_path: Path, extractor: Extractor) -> None:
    samples = tell_cameras(people(tmp_path / "in"), tmp_path / "in", None, [])
    kept_with = calibration(extractor.fingerprint)
    found = search_photographs(samples, SOURCE, extractor, tmp_path / "out", calibration=kept_with)
    with open_gallery(found.gallery) as gallery:
        assert calibration_of(gallery)[0] == kept_with
        usable, reason = verdicts_of(gallery, SearchOptions())
    assert usable is None
    assert "calibrated on other cameras (elsewhere)" in reason


def test_one_entry_s_pair_is_that_of_the_page(tmp_path: Path, extractor: Extractor) -> None:
    samples = tell_cameras(people(tmp_path / "in", 9), tmp_path / "in", None, [])
    found = search_photographs(samples, SOURCE, extractor, tmp_path / "out", shown=100)
    by_entry = {e.id: p for p in found.pairs for e in (p.first, p.second)}
    with open_gallery(found.gallery) as gallery:
        spread = similarity_spread(gallery, gallery.ids())
        for entry in gallery.entries():
            pair = pair_of(gallery, entry, True, spread)
            same = by_entry.get(entry.id)
            assert (pair is None) == (same is None)
            if pair and same:
                assert (pair.first.id, pair.second.id) == (same.first.id, same.second.id)
                assert pair.margin == pytest.approx(same.margin)


def test_images_on_the_page_are_large_and_open_in_full_size(tmp_path: Path, extractor: Extractor) -> None:
    paths = people(tmp_path / "in", 4)
    for path in paths:
        with Image.open(path) as image:
            image.resize((200, 600)).save(path)
    samples = tell_cameras(paths, tmp_path / "in", None, [])
    page = search_photographs(samples, SOURCE, extractor, tmp_path / "out").page.read_text(encoding="utf-8")
    data = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert data
    for one in data:
        with Image.open(io.BytesIO(base64.b64decode(one))) as image:
            assert image.size == (200, 600)
    targets = re.findall(r'<a class="frame" href="#([\w-]+)" title="Show in full size"><img', page)
    assert len(targets) == len(set(targets)) == len(data)
    ids = set(re.findall(r'id="([\w-]+)"', page))
    assert set(re.findall(r'href="#([\w-]+)"', page)) <= ids
    assert ".enlarging:target" in page


def test_more_pairs_on_request_and_their_number_without(tmp_path: Path, extractor: Extractor) -> None:
    samples = tell_cameras(people(tmp_path / "in", 9), tmp_path / "in", None, [])
    every = search_photographs(samples, SOURCE, extractor, tmp_path / "all", shown=100)
    assert every.left_out == (0, 0)
    assert "not shown here" not in every.page.read_text(encoding="utf-8")
    few = search_photographs(samples, SOURCE, extractor, tmp_path / "few", shown=1)
    likely = sum(p.stands_out for p in every.pairs)
    others = len(every.pairs) - likely
    assert few.left_out == (max(0, likely - 1), max(0, others - 1))
    page = few.page.read_text(encoding="utf-8")
    assert f"Look-alikes: {others}" in page
    assert f"<code>--pairs {max(likely, others)}</code> shows all" in page
    assert few.most_of_a_kind == max(likely, others)


def test_one_camera_is_not_called_another(tmp_path: Path, extractor: Extractor) -> None:
    paths = [draw(tmp_path / "in" / f"{n}{half}.png", n, 8 * (half == "b")) for n in range(4) for half in "ab"]
    samples = tell_cameras(paths, tmp_path / "in", None, [])
    page = search_photographs(samples, SOURCE, extractor, tmp_path / "out").page.read_text(encoding="utf-8")
    assert "8 images, 1 camera, described by" in page
    assert "another camera" not in page
    assert "nearest image of all" in page
    assert 'aria-label="Colors of the bars"' in page
