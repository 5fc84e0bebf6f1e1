from __future__ import annotations

import numpy as np
import pytest

from crosscam.models.output import Block, Layout
from crosscam.retrieval.contributions import body_profile, part_contributions


def layout_of(*scales: int, dim: int = 3, with_global: bool = True) -> Layout:
    blocks: list[Block] = []
    for n in scales:
        for i in range(n):
            start = len(blocks) * dim
            blocks.append(Block(f"p{n}.local{i + 1}", start, start + dim, n, "local", (i / n, (i + 1) / n)))
    for n in scales if with_global else ():
        start = len(blocks) * dim
        blocks.append(Block(f"p{n}.global", start, start + dim, n, "global", (0.0, 1.0)))
    return tuple(blocks)


def naive_contributions(query, matches, layout):
    result = np.zeros((len(matches), len(layout)))
    for n, match in enumerate(matches):
        for k, block in enumerate(layout):
            for d in range(block.start, block.stop):
                result[n, k] += (float(query[d]) - float(match[d])) ** 2
    return result


def test_contributions_equal_a_naive_loop_and_sum_to_the_squared_distance():
    layout = layout_of(6, 4, 2)
    rng = np.random.default_rng(0)
    query = rng.normal(size=layout[-1].stop).astype(np.float32)
    matches = rng.normal(size=(5, layout[-1].stop)).astype(np.float32)
    found = part_contributions(query, matches, layout)
    assert found.shape == (5, 15)
    np.testing.assert_allclose(found, naive_contributions(query, matches, layout), rtol=1e-12)
    distances = np.linalg.norm(query.astype(np.float64) - matches.astype(np.float64), axis=1)
    np.testing.assert_allclose(found.sum(axis=1), distances**2, rtol=1e-12)


def test_one_query_for_each_match():
    layout = layout_of(6)
    rng = np.random.default_rng(1)
    queries, matches = rng.normal(size=(2, 4, layout[-1].stop))
    found = part_contributions(queries, matches, layout)
    alone = [part_contributions(queries[n], matches[n : n + 1], layout)[0] for n in range(4)]
    np.testing.assert_array_equal(found, alone)


def test_a_difference_in_one_block_falls_to_that_block_alone():
    layout = layout_of(6, dim=2)
    query = np.zeros(layout[-1].stop)
    match = query.copy()
    match[layout[2].start] = 3.0
    assert part_contributions(query, match[None], layout).tolist() == [[0, 0, 9, 0, 0, 0, 0]]


def test_blocks_may_stand_in_any_order():
    layout = layout_of(4)
    shuffled = tuple(layout[k] for k in (3, 0, 4, 1, 2))
    rng = np.random.default_rng(2)
    query, match = rng.normal(size=layout[-1].stop), rng.normal(size=(1, layout[-1].stop))
    straight = part_contributions(query, match, layout)
    np.testing.assert_array_equal(part_contributions(query, match, shuffled), straight[:, [3, 0, 4, 1, 2]])


@pytest.mark.parametrize("drop", [0, 2, -1])
def test_a_layout_with_a_hole_is_refused(drop):
    layout = list(layout_of(6))
    length = layout[-1].stop
    del layout[drop]
    with pytest.raises(ValueError, match=r"cover"):
        part_contributions(np.zeros(length), np.zeros((1, length)), tuple(layout))


def test_a_layout_that_repeats_a_block_is_refused():
    layout = layout_of(6)
    length = layout[-1].stop
    with pytest.raises(ValueError, match="cover the descriptor once"):
        part_contributions(np.zeros(length), np.zeros((1, length)), (*layout, layout[0]))


@pytest.mark.parametrize(("query", "matches"), [((20,), (2, 21)), ((3, 21), (2, 21)), ((21,), (21,))])
def test_shapes_that_do_not_fit_are_refused(query, matches):
    with pytest.raises(ValueError, match="shape"):
        part_contributions(np.zeros(query), np.zeros(matches), layout_of(6))


@pytest.mark.parametrize("scales", [(6,), (6, 4, 2), (2, 3), (1, 2, 4, 8)])
def test_profile_keeps_the_squared_distance(scales):
    layout = layout_of(*scales)
    contributions = np.random.default_rng(3).random((7, len(layout)))
    profile = body_profile(contributions, layout)
    assert profile.bands.shape == (7, max(scales))
    np.testing.assert_allclose(profile.edges, np.linspace(0, 1, max(scales) + 1), atol=1e-9)
    np.testing.assert_allclose(profile.bands.sum(axis=1) + profile.whole, contributions.sum(axis=1), rtol=1e-8)


def test_one_scale_is_its_own_profile():
    layout = layout_of(6)
    contributions = np.arange(7.0)[None]
    profile = body_profile(contributions, layout)
    np.testing.assert_allclose(profile.bands, [[0, 1, 2, 3, 4, 5]], atol=1e-8)
    assert profile.whole.tolist() == [6.0]


def test_a_coarse_stripe_is_spread_over_the_rows_it_saw():
    # The second quarter, rows 1/4 to 1/2, covers half of the second sixth and all of the third.
    layout = layout_of(6, 4, with_global=False)
    contributions = np.zeros((1, 10))
    contributions[0, 7] = 3.0
    np.testing.assert_allclose(body_profile(contributions, layout).bands, [[0, 1, 2, 0, 0, 0]], atol=1e-7)


def test_a_descriptor_without_parts_has_no_bands():
    layout = (Block("global", 0, 4, 1, "global", (0.0, 1.0)),)
    profile = body_profile(np.array([[2.0], [5.0]]), layout)
    assert profile.bands.shape == (2, 0)
    assert profile.whole.tolist() == [2.0, 5.0]


def test_profile_of_another_layout_is_refused():
    with pytest.raises(ValueError, match=r"\(N, 7\)"):
        body_profile(np.zeros((2, 6)), layout_of(6))
