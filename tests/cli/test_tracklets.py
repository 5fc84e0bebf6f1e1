"""Tracklets on the command line: MARS, and the tracks of a table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from in_process import Run

from crosscam.data.datasets.readers import read_dataset
from crosscam.data.datasets.table import write_table
from crosscam.inference.extractor import Extractor
from crosscam.metrics.ranking import evaluate_ranking

scipy_io = pytest.importorskip("scipy.io")


def make_mars(people: Path, root: Path) -> Path:
    """The drawn people's images as MARS's tracklets: all images of one person at one camera."""
    samples = read_dataset(people)
    for subset, some in (("train", samples.train), ("test", (*samples.query, *samples.gallery))):
        names, table = [], []
        groups = sorted({(s.pid, s.camid) for s in some})
        for number, (pid, camid) in enumerate(groups, start=1):
            paths = [s.path for s in some if (s.pid, s.camid) == (pid, camid)]
            table.append((len(names) + 1, len(names) + len(paths), pid, camid))
            for frame, path in enumerate(paths, start=1):
                names.append(f"{pid:04}C{camid}T{number:04}F{frame:03}.jpg")
                target = root / f"bbox_{subset}" / f"{pid:04}" / names[-1]
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        (root / "info").mkdir(exist_ok=True)
        (root / "info" / f"{subset}_name.txt").write_text("\n".join(names))
        scipy_io.savemat(root / "info" / f"tracks_{subset}_info.mat", {f"track_{subset}_info": np.int32(table)})
    firsts = [1 + [g[0] for g in groups].index(pid) for pid in sorted({pid for pid, _ in groups})]
    scipy_io.savemat(root / "info" / "query_IDX.mat", {"query_IDX": np.uint16([firsts])})
    return root


def reference(run: Path, mars: Path, merge: Callable[..., float] | None = None) -> float:
    """mAP by plain means of the frames of each folder and camera; or by what is merged of all pairs of frames."""
    extractor = Extractor.load(run)
    groups: dict[tuple[int, int], list[Path]] = {}
    for path in sorted((mars / "bbox_test").glob("*/*.jpg")):
        groups.setdefault((int(path.name[:4]), int(path.name[5])), []).append(path)
    means = np.stack([extractor(paths).mean(axis=0) for paths in groups.values()])
    rows = means / np.linalg.norm(means, axis=1, keepdims=True)
    pids, camids = (np.array([g[i] for g in groups]) for i in (0, 1))
    asked = [int(np.flatnonzero(pids == pid)[0]) for pid in np.unique(pids)]
    distances = np.linalg.norm(rows[asked][:, None] - rows[None], axis=2)
    if merge is not None:
        frames = [extractor(paths) for paths in groups.values()]
        distances = np.array([[merge(np.linalg.norm(frames[a][:, None] - f, axis=2)) for f in frames] for a in asked])
    return evaluate_ranking(distances, pids[asked], pids, camids[asked], camids).mAP


def test_a_network_is_scored_on_mars(crosscam: Run, place: Path) -> None:
    mars = make_mars(place / "people", place / "MARS")
    status, out, err = crosscam("evaluate run --data MARS --rerank --k1 3 --k2 1 --json --report mars.html")
    assert status == 0, err
    first, second = json.loads(out)["scores"]
    assert first["unit"] == second["unit"] == "tracklet"
    assert first["mAP"] == pytest.approx(reference(place / "run", mars), abs=1e-6)
    assert "Tracklets are ranked" in " ".join(err.split())
    assert (place / "mars.html").is_file()
    status, out, err = crosscam("evaluate run --data MARS --frames 1")
    assert status == 0, err
    assert "gallery tracklets;" in " ".join(out.split())
    assert "at most 1." in " ".join(err.split())
    status, out, err = crosscam("data doctor MARS")
    assert status == 0, err
    assert "# tracklets" in out


@pytest.mark.parametrize(("kind", "merge"), [("minimum", np.min), ("mean", np.mean)])
def test_tracklets_are_ranked_by_their_frames(crosscam: Run, place: Path, kind: str, merge: Callable[..., float]):
    mars = make_mars(place / "people", place / "MARS")
    status, out, err = crosscam(f"evaluate run --data MARS --set-distance {kind} --json")
    assert status == 0, err
    plain, by_frames = json.loads(out)["scores"]
    assert by_frames["reranking"] == f"{kind} distance of frames"
    assert by_frames["mAP"] == pytest.approx(reference(place / "run", mars, merge), abs=1e-6)
    assert plain["mAP"] == pytest.approx(reference(place / "run", mars), abs=1e-6)
    status, _, err = crosscam(f"evaluate run --data people --set-distance {kind}")
    assert status == 2
    assert "image by image" in " ".join(err.split())


def test_tracks_of_a_table_are_ranked_on_request(crosscam: Run, place: Path) -> None:
    mars = make_mars(place / "people", place / "MARS")
    write_table(read_dataset(mars, protocol="without-queries"), place / "own.csv")
    scores = []
    for words in ("--data own.csv", "--data own.csv --tracklets", "--data MARS --protocol without-queries"):
        status, out, err = crosscam(f"evaluate run {words} --json")
        assert status == 0, err
        scores.append(json.loads(out)["scores"][0])
    images, table, whole = scores
    assert (images["unit"], table["unit"]) == ("image", "tracklet")
    assert table["mAP"] == whole["mAP"]
    status, _, err = crosscam("evaluate run --data people --tracklets")
    assert status == 2
    assert "belongs to a track" in " ".join(err.split())
    status, _, err = crosscam("evaluate run --data people --frames 2")
    assert status == 2
    assert "--frames means nothing for" in " ".join(err.split())


def test_distances_of_frames_over_splits_are_those_of_each_alone(crosscam: Run, place: Path) -> None:
    people = read_dataset(place / "people")
    pids = sorted({s.pid for s in people.train})[:8]
    for camid in (1, 2):
        for number, pid in enumerate(pids, start=1):
            folder = place / "iLIDS-VID" / "sequences" / f"cam{camid}" / f"person{number:03}"
            folder.mkdir(parents=True)
            paths = [s.path for s in people.train if (s.pid, s.camid) == (pid, camid)]
            for frame, path in enumerate(paths, start=1):
                shutil.copy(path, folder / f"cam{camid}_person{number:03}_{frame:05}.png")
    asked = "evaluate run --data iLIDS-VID --set-distance mean --json"
    status, out, err = crosscam(f"{asked} --splits 2 --out all.json")
    assert status == 0, err
    together = [s["mAP"] for s in json.loads(out)["scores"]]
    alone = []
    for split in (0, 1):
        status, out, err = crosscam(f"{asked} --split {split}")
        assert status == 0, err
        alone.append([s["mAP"] for s in json.loads(out)["scores"]])
    assert together == pytest.approx([one[step] for step in (0, 1) for one in alone])
