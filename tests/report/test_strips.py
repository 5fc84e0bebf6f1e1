from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam.data.records import ReidDataset, Sample, camids_of, pids_of
from crosscam.metrics.ranking import evaluate_ranking
from crosscam.models.output import Block
from crosscam.report.strips import rank_strips

LAYOUT = tuple(Block(f"p3.local{i + 1}", 2 * i, 2 * i + 2, 3, "local", (i / 3, (i + 1) / 3)) for i in range(3))


def samples(name: str, pids, camids) -> tuple[Sample, ...]:
    return tuple(
        Sample(Path(f"{name}{n}.png"), int(p), int(c)) for n, (p, c) in enumerate(zip(pids, camids, strict=True))
    )


@pytest.fixture
def ranked():
    """A dataset with junk, distractors, same-camera images and tied distances, and its scores."""
    rng = np.random.default_rng(5)
    query = samples("q", np.repeat(np.arange(1, 9), 2), np.tile([1, 2], 8))
    gallery = samples("g", rng.integers(-1, 9, 60), rng.integers(1, 4, 60))
    dataset = ReidDataset("drawn", Path(), (), query, gallery)
    query_descriptors, gallery_descriptors = rng.integers(0, 3, (16, 6)) * 1.0, rng.integers(0, 3, (60, 6)) * 1.0
    distances = np.sqrt(((query_descriptors[:, None] - gallery_descriptors[None]) ** 2).sum(-1))
    result = evaluate_ranking(distances, pids_of(query), pids_of(gallery), camids_of(query), camids_of(gallery))
    return dataset, distances, result.average_precision, query_descriptors, gallery_descriptors


def naive_ranking(dataset, distances, q):
    query = dataset.query[q]
    kept = [
        (distances[q, g], g)
        for g, s in enumerate(dataset.gallery)
        if s.pid != -1 and not (s.pid == query.pid and s.camid == query.camid)
    ]
    return [g for _, g in sorted(kept)]


def test_matches_are_those_of_a_naive_ranking(ranked):
    dataset, distances, ap, *descriptors = ranked
    strips = rank_strips(dataset, distances, ap, *descriptors, LAYOUT, num_hardest=10, num_easiest=10, top=7)
    assert len(strips) == np.isfinite(ap).sum() >= 10
    for strip in strips:
        q = dataset.query.index(strip.query)
        order = naive_ranking(dataset, distances, q)
        assert [m.sample for m in strip.matches] == [dataset.gallery[g] for g in order[:7]]
        assert [m.rank for m in strip.matches] == list(range(1, 8))
        assert [m.distance for m in strip.matches] == [distances[q, g] for g in order[:7]]
        right = [rank for rank, g in enumerate(order, 1) if dataset.gallery[g].pid == strip.query.pid]
        assert [m.correct for m in strip.matches] == [rank in right for rank in range(1, 8)]
        assert (strip.num_correct, strip.num_ranked) == (len(right), len(order))
        assert strip.first_correct_rank == right[0]
        assert (strip.first_correct is not None) == (right[0] > 7)
        assert strip.average_precision == ap[q]


def test_contributions_sum_to_the_squared_distance(ranked):
    dataset, distances, ap, *descriptors = ranked
    for strip in rank_strips(dataset, distances, ap, *descriptors, LAYOUT, top=3):
        for match in (*strip.matches, *([strip.first_correct] if strip.first_correct else [])):
            assert match.contributions.shape == (3,)
            assert match.contributions.sum() == pytest.approx(match.distance**2, rel=1e-12)


def test_first_right_match_beyond_the_strip_is_named():
    gallery = samples("g", [2, 2, 3, 1, 1], [2, 2, 2, 2, 3])
    dataset = ReidDataset("drawn", Path(), (), samples("q", [1], [1]), gallery)
    distances = np.array([[0.1, 0.2, 0.3, 0.5, 0.4]])
    (strip,) = rank_strips(dataset, distances, np.array([0.2]), np.zeros((1, 6)), np.ones((5, 6)), LAYOUT, top=2)
    assert strip.first_correct is not None
    assert (strip.first_correct.rank, strip.first_correct.sample) == (4, gallery[4])
    assert strip.first_correct.correct


def test_hardest_and_easiest_are_by_average_precision_and_never_the_same_query(ranked):
    dataset, distances, ap, *descriptors = ranked
    strips = rank_strips(dataset, distances, ap, *descriptors, LAYOUT, num_hardest=3, num_easiest=2)
    assert [s.kind for s in strips] == ["hardest"] * 3 + ["easiest"] * 2
    assert len({s.query for s in strips}) == 5
    scores = [s.average_precision for s in strips]
    assert scores[0] == np.nanmin(ap)
    assert scores[3] == np.nanmax(ap)
    assert scores[:3] == sorted(scores[:3])
    assert scores[3:] == sorted(scores[3:], reverse=True)


def test_each_identity_comes_once_while_there_are_others():
    query = samples("q", [1, 1, 2, 3], [1, 2, 1, 1])
    dataset = ReidDataset("drawn", Path(), (), query, samples("g", [1, 2, 3], [3, 3, 3]))
    ap = np.array([0.1, 0.2, 0.3, 0.4])
    arguments = (dataset, np.zeros((4, 3)), ap, np.zeros((4, 6)), np.zeros((3, 6)), LAYOUT)
    two = rank_strips(*arguments, num_hardest=2, num_easiest=0)
    assert [s.query for s in two] == [query[0], query[2]]
    four = rank_strips(*arguments, num_hardest=9, num_easiest=9)
    assert [s.query for s in four] == list(query)


def test_skipped_queries_are_never_shown(ranked):
    dataset, distances, ap, *descriptors = ranked
    ap = ap.copy()
    ap[:5] = np.nan
    strips = rank_strips(dataset, distances, ap, *descriptors, LAYOUT, num_hardest=99, num_easiest=99)
    assert not {s.query for s in strips} & set(dataset.query[:5])
    assert rank_strips(dataset, distances, np.full(16, np.nan), *descriptors, LAYOUT) == []


def test_wrong_shapes_are_refused(ranked):
    dataset, distances, ap, query_descriptors, gallery_descriptors = ranked
    for arguments, name in (
        ((distances.T, ap, query_descriptors, gallery_descriptors), "distances"),
        ((distances, ap[1:], query_descriptors, gallery_descriptors), "average_precision"),
        ((distances, ap, query_descriptors[1:], gallery_descriptors), "query_descriptors"),
        ((distances, ap, query_descriptors, gallery_descriptors[0]), "gallery_descriptors"),
    ):
        with pytest.raises(ValueError, match=f"^{name} must"):
            rank_strips(dataset, *arguments, LAYOUT)
    with pytest.raises(ValueError, match="top >= 1"):
        rank_strips(dataset, distances, ap, query_descriptors, gallery_descriptors, LAYOUT, top=0)
