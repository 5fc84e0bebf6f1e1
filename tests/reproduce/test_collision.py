from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_study import BUDGET

from crosscam.data.records import pids_of
from crosscam.metrics.intervals import Interval
from crosscam.reproduce import collision
from crosscam.reproduce.collision import (
    DIALS,
    Collision,
    collision_charts,
    collision_tables,
    fill,
    growth,
    measure,
    verdict,
)
from crosscam.reproduce.study import Study

PLAN = Collision(12, 2, BUDGET)
# Of the first dial one draw: that a score is of all draws shows at the other.
ONE_DRAW = Collision(12, 1, BUDGET)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[float, list[Study]]:
    folder = tmp_path_factory.mktemp("collision")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collision, "DIALS", (0.0,))
        first = fill(folder, ONE_DRAW)
        patch.setattr(collision, "DIALS", (0.75,))
        return first | fill(folder, PLAN)


def test_the_people_are_drawn_as_the_dial_says(studies: dict[float, list[Study]]) -> None:
    for dial, draws in studies.items():
        shares = []
        for study in draws:
            table = json.loads((study.dataset.root / "identities.json").read_text())
            assert table["collide"] == dial
            shares.append(np.mean([row["shares"] is not None for row in table["identities"]]))
        assert shares == [pytest.approx(dial, abs=0.1)] * len(draws)
    first, second = (study.dataset for study in studies[0.75])
    assert [s.path.read_bytes() for s in first.query[:2]] != [s.path.read_bytes() for s in second.query[:2]]


def test_lines_and_gaps_are_means_over_the_queries_of_all_draws(
    studies: dict[float, list[Study]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collision, "DIALS", tuple(studies))
    lines, gaps = measure(studies)

    def mean(dial: float, row: str, names: list[str]) -> float:
        values = [
            np.mean([study.result(row, 0).average_precision[n] for n in names], axis=0) for study in studies[dial]
        ]
        return float(np.nanmean(np.concatenate(values)))

    stripes = [f"p6.local{i}" for i in range(1, 7)]
    for k, dial in enumerate(studies):
        with_, without = mean(dial, "rm-gmp", stripes), mean(dial, "gmp", stripes)
        assert lines["one stripe, with RM"][k].value == pytest.approx(with_)
        assert lines["one stripe, without RM"][k].value == pytest.approx(without)
        gap = gaps["relation module, one stripe"]
        assert gap[k].value == pytest.approx(with_ - without)
        assert lines["GCP"][k].value == pytest.approx(mean(dial, "rrid-s", ["p6.global"]))
        assert lines["GAP"][k].value == pytest.approx(mean(dial, "rm-gap", ["p6.global"]))


def test_growth_is_the_last_gap_less_the_first_with_both_errors() -> None:
    grown = growth((Interval(0.01, -0.02, 0.04), Interval(0.11, 0.07, 0.15)))
    assert grown.value == pytest.approx(0.10)
    assert grown.high - grown.low == pytest.approx(2 * 0.05)
    assert verdict(grown) == "grows"
    assert verdict(growth((Interval(0, 0, 0), Interval(0.1, 0.05, 0.15)))) == "grows"
    assert verdict(growth((Interval(0.1, 0.05, 0.15), Interval(0, 0, 0)))) == "shrinks"
    assert verdict(growth((Interval(0, -0.1, 0.1), Interval(0.1, 0.05, 0.15)))) != "grows"


def test_tables_and_charts_show_every_dial(studies: dict[float, list[Study]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collision, "DIALS", tuple(studies))
    gaps, scores = collision_tables(studies, PLAN)
    assert scores.heads == ("feature", "collide 0", "collide 0.75")
    assert len(scores.records) == 8
    assert len(gaps.records) == 5
    assert all(len(cells) == len(t.heads) for t in (gaps, scores) for cells in t.cells)
    charts = collision_charts(studies)
    assert charts.count('class="bar"') == 2 * 8


def test_a_second_call_draws_and_trains_nothing(
    studies: dict[float, list[Study]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collision, "DIALS", (0.75,))
    monkeypatch.setattr(collision, "render_dataset", lambda *_, **__: pytest.fail("drawn again"))
    folder = Path(studies[0.0][0].folder).parents[2]
    again = fill(folder, PLAN)
    assert [s.folder for s in again[0.75]] == [s.folder for s in studies[0.75]]
    assert len({p for s in again[0.75] for p in pids_of(s.dataset.query)}) > 0


def test_the_dials_are_those_of_the_question() -> None:
    assert DIALS == (0.0, 0.25, 0.5, 0.75)
