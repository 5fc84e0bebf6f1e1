from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam.metrics.ranking import evaluate_descriptors, evaluate_ranking
from crosscam.retrieval.distances import pairwise_distances

FIXTURE = Path(__file__).parents[1] / "data" / "parity" / "evaluation.npz"
CASES = ("market", "ties")


def fixture_case(case: str) -> tuple[list[Any], dict[str, Any]]:
    with np.load(FIXTURE) as arrays:
        inputs = [arrays[f"{case}_{key}"] for key in ("dist", "qid", "gid", "qcam", "gcam")]
        expected = {key.removeprefix(f"{case}_"): arrays[key] for key in arrays if key.startswith(case)}
    return inputs, expected


@pytest.mark.parametrize("case", CASES)
def test_average_precision_is_that_of_the_authors(case: str) -> None:
    inputs, expected = fixture_case(case)
    result = evaluate_ranking(*inputs)
    np.testing.assert_allclose(result.average_precision, expected["AP"], rtol=0, atol=1e-9)
    assert result.mAP == pytest.approx(float(expected["mAP"]), abs=1e-9)
    assert result.num_skipped == np.isnan(expected["AP"]).sum()
    assert result.num_queries + result.num_skipped == len(expected["AP"])


@pytest.mark.parametrize("case", CASES)
def test_trapezoid_is_that_of_the_authors(case: str) -> None:
    inputs, expected = fixture_case(case)
    result = evaluate_ranking(*inputs, ap="trapezoid")
    assert result.mAP == pytest.approx(float(expected["mAP_trapezoid_INFO"]), abs=1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("protocol", ["market1501", "allshots"])
def test_cmc_is_that_of_the_authors(case: str, protocol: Any) -> None:
    inputs, expected = fixture_case(case)
    result = evaluate_ranking(*inputs, protocol=protocol, max_rank=100)
    np.testing.assert_allclose(result.cmc, expected[f"cmc_{protocol}_stable"], rtol=0, atol=1e-9)


def naive(
    distances: Any, qp: Any, gp: Any, qc: Any, gc: Any, protocol: str, ap: str, max_rank: int
) -> tuple[list[float], np.ndarray, list[float]]:
    """Sort every row and walk down it."""
    aps, inps, curves = [], [], []
    for q in range(len(qp)):
        ranked = sorted(range(len(gp)), key=lambda g: (distances[q, g], g))
        ranked = [g for g in ranked if gp[g] != -1 and not (gp[g] == qp[q] and gc[g] == qc[q])]
        hits = [gp[g] == qp[q] and qp[q] > 0 for g in ranked]
        if not any(hits):
            aps.append(float("nan"))
            continue
        places = [i for i, hit in enumerate(hits) if hit]
        values = []
        for n, place in enumerate(places):
            if ap == "trapezoid":
                earlier = n / place if place else 1.0
                values.append((earlier + (n + 1) / (place + 1)) / 2)
                continue
            own = distances[q, ranked[place]]
            last = max(i for i, g in enumerate(ranked) if distances[q, g] == own)
            values.append(sum(hits[: last + 1]) / (last + 1))
        aps.append(sum(values) / len(values))
        inps.append(len(places) / (places[-1] + 1))
        curve = np.zeros(max_rank)
        if protocol == "market1501":
            curve[places[0] :] = 1
        else:
            for n, place in enumerate(places):
                curve[place - n :] += 1 / len(places)
        curves.append(curve)
    return aps, np.mean(curves, axis=0), inps


def random_case(seed: int, *, levels: int | None, num_query: int = 12, num_gallery: int = 70) -> list[Any]:
    rng = np.random.default_rng(seed)
    distances = rng.random((num_query, num_gallery)).astype(np.float32)
    if levels is not None:
        distances = np.floor(distances * levels).astype(np.float32)
    pids = [rng.integers(1, 7, num_query), rng.integers(-1, 7, num_gallery)]
    camids = [rng.integers(0, 3, num_query), rng.integers(0, 3, num_gallery)]
    return [distances, *pids, *camids]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    levels=st.sampled_from([None, 1, 3, 20]),
    protocol=st.sampled_from(["market1501", "allshots"]),
    ap=st.sampled_from(["step", "trapezoid"]),
)
def test_equals_a_full_sort(seed: int, levels: int | None, protocol: Any, ap: Any) -> None:
    case = random_case(seed, levels=levels)
    result = evaluate_ranking(*case, protocol=protocol, ap=ap, max_rank=20)
    aps, cmc, inps = naive(*case, protocol, ap, 20)
    np.testing.assert_allclose(result.average_precision, aps, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.cmc, cmc, rtol=0, atol=1e-12)
    assert result.mINP == pytest.approx(np.mean(inps), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), protocol=st.sampled_from(["market1501", "allshots", "cuhk03"]))
def test_permuting_the_gallery_changes_nothing_without_ties(seed: int, protocol: Any) -> None:
    distances, qp, gp, qc, gc = random_case(seed, levels=None)
    order = np.random.default_rng(seed).permutation(len(gp))
    first = evaluate_ranking(distances, qp, gp, qc, gc, protocol=protocol)
    second = evaluate_ranking(distances[:, order], qp, gp[order], qc, gc[order], protocol=protocol)
    np.testing.assert_allclose(first.average_precision, second.average_precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(first.cmc, second.cmc, rtol=0, atol=1e-12)
    assert first.mINP == pytest.approx(second.mINP, abs=1e-12)


def test_junk_and_images_of_the_own_camera_change_nothing() -> None:
    distances, qp, gp, qc, gc = random_case(3, levels=5)
    counted = 0
    for q in range(len(qp)):
        kept = (gp != -1) & ~((gp == qp[q]) & (gc == qc[q]))
        if not (gp[kept] == qp[q]).any():
            continue
        row, query = distances[q : q + 1], (qp[q : q + 1], qc[q : q + 1])
        whole = evaluate_ranking(row, query[0], gp, query[1], gc)
        cut = evaluate_ranking(row[:, kept], query[0], gp[kept], query[1], gc[kept])
        assert whole.to_dict() == cut.to_dict()
        counted += 1
    assert counted > 6


def test_a_worked_example() -> None:
    # ranking of the one query: distractor, match, junk (dropped), own camera (dropped), match, other person
    distances = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    result = evaluate_ranking(distances, [7], [0, 7, -1, 7, 7, 3], [1], [1, 2, 2, 1, 3, 2], max_rank=5)
    assert result.mAP == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result.mINP == pytest.approx(2 / 3)
    np.testing.assert_array_equal(result.cmc, [0, 1, 1, 1, 1])
    assert (result.rank1, result.rank5) == (0.0, 1.0)
    with pytest.raises(ValueError, match="ranks 1 to 5; raise max_rank"):
        _ = result.rank10


def test_a_distractor_is_nobodys_match() -> None:
    distances = np.array([[0.1, 0.2], [0.1, 0.2]])
    result = evaluate_ranking(distances, [0, 4], [0, 4], [1, 1], [2, 2])
    assert (result.num_queries, result.num_skipped) == (1, 1)
    assert np.isnan(result.average_precision[0])


def test_infinite_distances_rank_last_and_tie() -> None:
    distances = np.array([[np.inf, np.inf, 1.0, np.inf]])
    result = evaluate_ranking(distances, [1], [1, 1, 2, -1], [0], [1, 1, 1, 1])
    assert result.mAP == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_any_kind_of_distances(dtype: torch.dtype) -> None:
    distances, *labels = random_case(5, levels=7)
    expected = evaluate_ranking(distances, *labels)
    for given_distances in (torch.tensor(distances).to(dtype), torch.tensor(distances.T.copy()).to(dtype).T):
        result = evaluate_ranking(given_distances, *map(torch.tensor, labels))
        assert result.to_dict() == expected.to_dict()


@pytest.mark.parametrize("protocol", ["market1501", "allshots", "cuhk03"])
@pytest.mark.parametrize("gallery_size", [90, 1_000_000])
def test_from_descriptors_equals_from_distances(
    protocol: Any, gallery_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In blocks of one, and of all queries.
    monkeypatch.setattr("crosscam.retrieval.distances.BLOCK_ELEMENTS", gallery_size)
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(20, 16)), rng.normal(size=(90, 16))
    _, *labels = random_case(1, levels=None, num_query=20, num_gallery=90)
    from_distances = evaluate_ranking(pairwise_distances(query, gallery), *labels, protocol=protocol)
    from_descriptors = evaluate_descriptors(query, gallery, *labels, protocol=protocol)
    assert from_descriptors.to_dict() == from_distances.to_dict()
    np.testing.assert_array_equal(from_descriptors.average_precision, from_distances.average_precision)


def test_to_dict_is_json() -> None:
    result = evaluate_ranking(*random_case(2, levels=None), max_rank=7)
    values = json.loads(json.dumps(result.to_dict()))
    assert values["rank5"] == result.rank5
    assert "rank10" not in values
    assert len(values["cmc"]) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: np.zeros((2, 0)), 2: [], 4: []}, "The gallery is empty"),
        ({0: np.zeros((0, 3)), 1: [], 3: []}, "There are no queries"),
        ({0: np.zeros(3)}, r"shape \(3,\). Expected \(queries, gallery images\)"),
        ({1: [1]}, r"query_pids has shape \(1,\). Expected \(2,\)"),
        ({4: [1, 1, 1, 1]}, r"gallery_camids has shape \(4,\). Expected \(3,\)"),
        ({2: [1.0, 2.5, 3.0]}, r"gallery_pids\[1\] is 2.5. Expected a whole number"),
        ({2: ["1", "2", "3"]}, "gallery_pids holds <U1. Expected whole numbers"),
        ({1: [8, 9]}, "Every query was skipped: none of the 2 queries"),
        ({3: [2, 2], 4: [2, 2, 2]}, r"Every query was skipped.*2 have one from their own camera"),
        ({0: np.array([[1, 2, 3], [1, np.nan, 3]])}, "Distances hold NaN, first at query 1, gallery 1"),
    ],
)
def test_bad_input_is_named(change: dict[int, Any], message: str) -> None:
    arguments: list[Any] = [np.ones((2, 3)), [1, 2], [1, 2, 3], [1, 1], [2, 2, 2]]
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(*arguments)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"ap": "area"}, "ap is 'area'. Expected one of step, trapezoid"),
        ({"protocol": "market"}, "protocol is 'market'. Expected one of market1501"),
        ({"max_rank": 0}, "max_rank is 0"),
    ],
)
def test_bad_options_are_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(*random_case(0, levels=None), **option)


def test_plain_lists_are_distances_too() -> None:
    assert evaluate_ranking([[0.1, 0.2]], [1], [1, 2], [1], [2, 2]).mAP == 1.0
    assert evaluate_ranking([[0.3, 0.2]], [1], [1, 2], [1], [2, 2]).mAP == 0.5
