"""Calibration against naive loops over all pairs, and what must hold for any data."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crosscam.calibration import fitting, pair_counts
from crosscam.calibration.calibration import Calibration, Origin
from crosscam.calibration.fitting import calibrate, log_likelihood_ratio
from crosscam.calibration.open_set import edge_at_fmr, edge_at_fnmr, impostor_pairs
from crosscam.calibration.pair_counts import BINS, WIDTH, closest_impostors, count_pairs, labeled
from crosscam.errors import DataError

ORIGIN = Origin("toy", "0123456789abcdef", "f" * 64)
Points = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def people(
    ids: int = 30,
    cameras: int = 3,
    images: int = 3,
    distractors: int = 10,
    junk: int = 3,
    noise: float = 0.9,
    seed: int = 0,
) -> Points:
    """Noisy copies of one random vector for each person."""
    random = np.random.default_rng(seed)
    pids = np.repeat(np.arange(1, ids + 1), cameras * images)
    camids = np.tile(np.repeat(np.arange(1, cameras + 1), images), ids)
    center = random.normal(size=(ids + 1, 24))
    x = center[pids] + noise * random.normal(size=(len(pids), 24))
    others = random.normal(size=(distractors + junk, 24))
    pids = np.concatenate([pids, np.zeros(distractors, int), np.full(junk, -1)])
    camids = np.concatenate([camids, random.integers(1, cameras + 1, distractors + junk)])
    x = np.concatenate([x, others]).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True), pids, camids


def pairs_by_loop(points: Points) -> dict[str, list[tuple[float, int, int, int, int]]]:
    """(distance, pid, pid, camid, camid) of every pair, by kind."""
    x, pids, camids = points
    found: dict[str, list[tuple[float, int, int, int, int]]] = {"genuine": [], "impostor": [], "within": []}
    for i, j in itertools.combinations(range(len(x)), 2):
        if -1 in (pids[i], pids[j]) or pids[i] == pids[j] == 0:
            continue
        pair = (float(np.linalg.norm(x[i] - x[j])), int(pids[i]), int(pids[j]), int(camids[i]), int(camids[j]))
        if pids[i] == pids[j]:
            if camids[i] != camids[j]:
                found["genuine"].append(pair)
        else:
            found["within" if camids[i] == camids[j] else "impostor"].append(pair)
    return found


@pytest.fixture(scope="module")
def points() -> Points:
    return people()


@pytest.fixture(scope="module")
def found(points: Points) -> Calibration:
    return calibrate(*points, ORIGIN, fmr=0.01, replicates=50)


def test_counts_equal_a_loop_over_all_pairs(points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_counts, "BLOCK_ELEMENTS", 900)  # several blocks
    counts = count_pairs(labeled(*points), [(0, 1), (2, 2)])
    pairs = pairs_by_loop(points)
    for kind in ("genuine", "impostor", "within"):
        histogram = getattr(counts, kind)
        assert histogram.sum() == len(pairs[kind])
        naive = np.bincount([min(int(p[0] / WIDTH), BINS - 1) for p in pairs[kind]], minlength=BINS)
        # A distance computed in another order may fall on the other side of an edge: cumulated, by one bin.
        assert np.abs(np.cumsum(histogram) - np.cumsum(naive)).max() <= 2
    genuine, impostor = counts.by_cameras[1, 2]
    assert genuine.sum() == sum({p[3], p[4]} == {1, 2} for p in pairs["genuine"])
    assert impostor.sum() == sum({p[3], p[4]} == {1, 2} for p in pairs["impostor"])
    genuine, impostor = counts.by_cameras[3, 3]
    assert genuine.sum() == 0
    assert impostor.sum() == sum(p[3] == p[4] == 3 for p in pairs["within"])
    assert np.array_equal(np.bincount(counts.bin, weights=counts.count, minlength=BINS), counts.genuine)
    assert np.bincount(counts.identity, weights=counts.count)[4] == sum(p[1] == 5 for p in pairs["genuine"])
    monkeypatch.setattr(pair_counts, "BLOCK_ELEMENTS", 1)  # a block for each row, the last one a single pair
    three = [0, 12, 24]  # three people at three cameras
    assert count_pairs(labeled(*(column[three] for column in points)), []).impostor.sum() == 3


def test_thresholds_hold_the_wanted_rates_and_not_one_bin_more(points: Points, found: Calibration) -> None:
    pairs = pairs_by_loop(points)
    impostor, genuine = (np.array([p[0] for p in pairs[kind]]) for kind in ("impostor", "genuine"))
    assert np.mean(impostor < found.pooled.same) <= 0.01 < np.mean(impostor < found.pooled.same + 2 * WIDTH)
    assert np.mean(genuine >= found.pooled.other) <= 0.05
    if found.pooled.other > found.pooled.same:
        assert np.mean(genuine >= found.pooled.other - 2 * WIDTH) > 0.05
    assert (found.pooled.genuine, found.pooled.impostor) == (len(genuine), len(impostor))
    within = np.array([p[0] for p in pairs["within"]])
    assert found.within is not None
    assert np.mean(within < found.within.same) <= 0.01 < np.mean(within < found.within.same + 2 * WIDTH)
    at_one_percent = next(p for p in found.open_set if p.fmr == 0.01)
    assert at_one_percent.fnmr == pytest.approx(np.mean(genuine >= found.pooled.same), abs=1e-9)
    assert at_one_percent.low is not None
    assert at_one_percent.high is not None
    assert at_one_percent.low <= at_one_percent.fnmr <= at_one_percent.high


def test_a_rate_that_cannot_be_resolved_has_no_figure_but_a_reason(found: Calibration) -> None:
    point = next(p for p in found.open_set if p.fmr == 1e-4)
    assert (point.threshold, point.fnmr, point.low, point.high) == (None, None, None, None)
    assert "needs 300,000 pairs" in point.note


def test_camera_pairs_have_thresholds_where_there_is_enough_data() -> None:
    x, pids, camids = people(ids=70)
    rare = (camids == 3) & (pids > 6)
    keep = ~rare
    found = calibrate(x[keep], pids[keep], camids[keep], ORIGIN, fmr=0.01, replicates=2)
    assert {c.camids for c in found.cameras} == {(1, 1), (1, 2), (2, 2)}
    assert any("take the pooled thresholds" in note for note in found.notes)
    own, words = found.thresholds(2, 1)
    assert words == "cameras 1 and 2"
    pairs = pairs_by_loop((x[keep], pids[keep], camids[keep]))
    impostor = np.array([p[0] for p in pairs["impostor"] if {p[3], p[4]} == {1, 2}])
    assert np.mean(impostor < own.same) <= 0.01 < np.mean(impostor < own.same + 2 * WIDTH)
    assert found.thresholds(1, 3) == (found.pooled, "all pairs of different cameras")
    assert found.thresholds(3, 3) == (found.within, "pairs within one camera")
    assert found.thresholds(None, 3)[0] == found.pooled


def test_few_people_give_two_cameras_no_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MIN_PEOPLE", 71)
    assert calibrate(*people(ids=70), ORIGIN, fmr=0.01, replicates=2).cameras == ()


def test_few_pairs_of_one_person_give_two_cameras_no_thresholds() -> None:
    x, pids, camids = people(cameras=4, images=5)
    keep = (camids > 2) | (np.arange(len(pids)) % 5 == 0)
    found = calibrate(x[keep], pids[keep], camids[keep], ORIGIN, fmr=0.05, replicates=2)
    # Cameras 1 and 2 have 30 genuine pairs, 3 and 4 have 750; a miss rate of 5 % takes 600.
    cameras = {c.camids for c in found.cameras}
    assert (3, 4) in cameras
    assert not {(1, 2), (1, 3), (2, 4)} & cameras


def test_verdicts_begin_at_the_thresholds(found: Calibration) -> None:
    same, other = found.pooled.same, found.pooled.other
    assert same < other
    said = [found.verdict(d) for d in (np.nextafter(same, 0), same, np.nextafter(other, 0), other)]
    assert said == ["same", "unsure", "unsure", "other"]


def test_nothing_is_unsure_where_both_rates_can_be_had_at_once() -> None:
    easy = calibrate(*people(noise=0.01, distractors=0), ORIGIN, fmr=0.01, replicates=2)
    assert easy.pooled.same == easy.pooled.other
    assert Calibration.from_json(easy.to_json()) == easy
    assert "'other' misses at most 5 % of equal ones" in easy.rests_on()


def test_no_distance_is_certain() -> None:
    genuine, impostor = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    genuine[10], impostor[100] = 3, 5
    _, ratios = log_likelihood_ratio(genuine, impostor)
    # Half a pair more of either kind.
    assert ratios == pytest.approx([np.log(5.5 / 0.5), np.log(0.5 / 3.5)])


def test_verdicts_and_probabilities_never_rise_with_the_distance(found: Calibration) -> None:
    order = {"same": 2, "unsure": 1, "other": 0}
    distances = np.linspace(0, 2, 400)
    verdicts = [order[found.verdict(d, 1, 2)] for d in distances]
    assert verdicts == sorted(verdicts, reverse=True)
    assert {verdicts[0], verdicts[-1]} == {2, 0}
    probabilities = np.array([found.probability(d) for d in distances])
    assert (np.diff(probabilities) <= 0).all()
    assert 0 < probabilities[-1] < probabilities[0] < 1
    assert found.probability(0.8, prior=0.5) > found.probability(0.8)
    with pytest.raises(ValueError, match="prior"):
        found.probability(0.8, prior=1.0)


def test_at_the_prior_of_the_data_the_probabilities_are_shares(points: Points) -> None:
    """Among pairs to which the fit gives about p, about p are genuine: it is calibrated on its own data."""
    pairs = pairs_by_loop(points)
    found = calibrate(*points, ORIGIN, fmr=0.01, replicates=2)
    distances = np.array([p[0] for kind in ("genuine", "impostor") for p in pairs[kind]])
    is_genuine = np.arange(len(distances)) < len(pairs["genuine"])
    p = np.array([found.probability(d, prior=float(is_genuine.mean())) for d in distances])
    assert p.mean() == pytest.approx(is_genuine.mean(), rel=0.05)
    upper = p > 0.5
    assert p[upper].mean() == pytest.approx(is_genuine[upper].mean(), abs=0.05)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_edges_and_likelihood_by_naive_loops(seed: int, num_genuine: int, num_impostor: int) -> None:
    random = np.random.default_rng(seed)
    genuine = np.bincount(random.integers(0, 60, num_genuine), minlength=BINS).astype(np.int64)
    impostor = np.bincount(random.integers(20, 90, num_impostor), minlength=BINS).astype(np.int64)
    for rate in (0.003, 0.1, 0.5):
        edge = edge_at_fmr(impostor, rate)
        assert impostor[:edge].sum() <= rate * num_impostor + 1e-9
        assert edge == BINS or impostor[: edge + 1].sum() > rate * num_impostor - 1e-9
        edge = edge_at_fnmr(genuine, rate)
        assert genuine[edge:].sum() <= rate * num_genuine + 1e-9
        assert edge == 0 or genuine[edge - 1 :].sum() > rate * num_genuine - 1e-9
    distances, ratios = log_likelihood_ratio(genuine, impostor)
    assert (np.diff(distances) > 0).all()
    assert (np.diff(ratios) <= 0).all()
    assert np.isfinite(ratios).all()


def test_weighted_impostor_pairs_equal_a_loop_over_copies(points: Points) -> None:
    data = labeled(*points)
    weight = np.random.default_rng(1).integers(0, 3, len(data.per_identity)).astype(float)
    naive = 0.0
    for i, j in itertools.combinations(range(len(data.identities)), 2):
        a, b = data.identities[i], data.identities[j]
        if a != b and data.cameras[i] != data.cameras[j] and min(a, b) < data.num_people:
            naive += weight[a] * weight[b]
    assert impostor_pairs(data.per_identity, data.num_people, weight) == naive
    tail = closest_impostors(data, count_pairs(data, []), share=1.0)
    assert (weight[tail.first] * weight[tail.second] * tail.weight).sum() == naive


def test_a_thinned_tail_keeps_its_weight_and_its_closest_pairs(points: Points) -> None:
    data = labeled(*points)
    counts = count_pairs(data, [])
    tail = closest_impostors(data, counts, share=0.5, limit=800)
    assert len(tail.bin) < 2_000
    assert tail.weight.sum() == pytest.approx(0.5 * counts.impostor.sum(), rel=0.1)
    whole = closest_impostors(data, counts, share=0.5)
    near = tail.bin[tail.weight == 1]
    assert np.array_equal(near, whole.bin[: len(near)])


def test_the_order_of_the_images_changes_nothing(points: Points, found: Calibration) -> None:
    order = np.random.default_rng(2).permutation(len(points[0]))
    again = calibrate(*(p[order] for p in points), ORIGIN, fmr=0.01, replicates=50)
    assert again.pooled.same == pytest.approx(found.pooled.same, abs=WIDTH)
    assert again.pooled.genuine == found.pooled.genuine
    assert again.det[0].fnmr == pytest.approx(found.det[0].fnmr, abs=0.01)


def test_intervals_cover_about_as_often_as_they_say() -> None:
    """The FNMR at FMR 1 % of 40 small samples against that of a large one."""
    whole = calibrate(*people(ids=400, distractors=0, seed=99), ORIGIN, fmr=0.01, replicates=2)
    truth = next(p.fnmr for p in whole.open_set if p.fmr == 0.01)
    covered = 0
    for seed in range(40):
        small = calibrate(*people(ids=40, distractors=0, seed=seed), ORIGIN, fmr=0.01, replicates=60)
        point = next(p for p in small.open_set if p.fmr == 0.01)
        assert point.low is not None
        assert point.high is not None
        covered += point.low - 0.003 <= truth <= point.high + 0.003
    assert covered >= 33


def test_det_is_a_falling_curve(found: Calibration) -> None:
    fmr, fnmr = (np.array([getattr(p, name) for p in found.det]) for name in ("fmr", "fnmr"))
    assert (np.diff(fmr) >= 0).all()
    assert (np.diff(fnmr) <= 0).all()
    assert (fmr[-1], fnmr[-1]) == (1.0, 0.0)


def test_json_gives_the_same_calibration_back(found: Calibration) -> None:
    assert Calibration.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("pooled"),
        lambda d: d.update(format=9),
        lambda d: d["pooled"].update(same=1.5, other=0.5),
        lambda d: d.update(steps=[]),
        lambda d: d.update(cameras=[{"camids": [1]}]),
        lambda d: d["pooled"].update(same="near"),
    ],
)
def test_a_damaged_calibration_is_refused(found: Calibration, spoil: object) -> None:
    value = json.loads(found.to_json())
    spoil(value)  # type: ignore[operator]
    with pytest.raises(DataError, match="Make it again with 'crosscam calibrate'"):
        Calibration.from_json(json.dumps(value))
    for text in ("", "[]", "{", "null"):
        with pytest.raises(DataError, match="not a calibration"):
            Calibration.from_json(text)


def test_the_sentence_names_data_model_and_pairs(found: Calibration) -> None:
    words = found.rests_on()
    for part in ("toy", "0123456789abcdef", "ffffffffffffffff", f"{found.pooled.genuine:,} pairs of one person"):
        assert part in words


def test_mistakes_are_one_clear_line(points: Points) -> None:
    x, pids, camids = points
    with pytest.raises(DataError, match=r"too few for --fmr 1e-05: expected 3,000,000.*Give --fmr 0\.00\d+"):
        calibrate(x, pids, camids, ORIGIN, fmr=1e-5)
    with pytest.raises(DataError, match=r"too few for --fnmr 0\.001"):
        calibrate(x, pids, camids, ORIGIN, fmr=0.01, fnmr=0.001)
    with pytest.raises(DataError, match="no pair of images of one person at two cameras"):
        calibrate(x, pids, np.ones_like(camids), ORIGIN)
    with pytest.raises(DataError, match="no pair of images of two people"):
        calibrate(x, np.ones_like(pids), camids, ORIGIN)
    with pytest.raises(ValueError, match="Expected a number between 0 and 1"):
        calibrate(x, pids, camids, ORIGIN, fmr=0)
    for rate in (1e-300, 5e-324):
        with pytest.raises(ValueError, match="Expected at least 1e-12"):
            calibrate(x, pids, camids, ORIGIN, fmr=rate)
    with pytest.raises(ValueError, match=r"Descriptor \d+ has length 2"):
        calibrate(2 * x, pids, camids, ORIGIN)


def test_no_more_camera_pairs_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MAX_CAMERA_PAIRS", 2)
    found = calibrate(*people(ids=70), ORIGIN, fmr=0.01, replicates=2)
    assert len(found.cameras) == 2
    assert any("the 2 with most have thresholds" in note for note in found.notes)


def test_a_calibration_cannot_be_changed(found: Calibration) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.fmr = 0.5  # type: ignore[misc]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_pairs_are_counted_from_labels_alone_as_from_descriptors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 40))
    pids, camids = rng.integers(-1, 6, count), rng.integers(0, 3, count)
    rows = np.zeros((count, 4), np.float32)
    rows[:, 0] = 1
    data = labeled(rows, pids, camids)
    counts = count_pairs(data, [])
    told: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "_refuse_too_few", lambda name, g, i, *rates: told.append((g, i)))
        fitting.check_calibration("t", pids, camids, fmr=0.1, fnmr=0.1, prior=0.1)
    assert told == [(int(counts.genuine.sum()), int(counts.impostor.sum()))]
