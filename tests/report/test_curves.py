from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from crosscam.report.curves import HEIGHT, LEFT, RIGHT, WIDTH, Series, line_chart, nice_ticks


def chart(*series: Series, **options) -> ET.Element:
    return ET.fromstring(line_chart(series, title="T", x_label="x", y_label="y", **options))


def line_points(figure: ET.Element, style: int = 0) -> list[tuple[float, float]]:
    path = figure.find(f"svg/g[@class='line s{style}']/path")
    assert path is not None
    return [(float(u), float(v)) for u, v in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path.attrib["d"])]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 100), (0, 0.037), (-3, 8), (0, 123456), (5, 5), (0, 0)])
def test_ticks_are_even_few_and_enclose_the_range(low, high):
    ticks = nice_ticks(low, high)
    steps = [b - a for a, b in pairwise(ticks)]
    assert ticks[0] <= low <= high <= ticks[-1]
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert 2 <= len(ticks) <= 9


def test_ticks_of_per_cent():
    assert nice_ticks(0, 100) == [0, 20, 40, 60, 80, 100]


@pytest.mark.parametrize(("low", "high"), [(1, 0), (0, math.inf), (math.nan, 1)])
def test_ticks_need_a_finite_range(low, high):
    with pytest.raises(ValueError, match="finite"):
        nice_ticks(low, high)


def test_points_are_placed_in_proportion():
    figure = chart(Series("a", [1, 2, 5], [0.0, 50.0, 100.0]), y_range=(0, 100))
    (u0, v0), (u1, v1), (u2, v2) = line_points(figure)
    assert (u0, u2) == (LEFT, WIDTH - RIGHT)
    assert (u1 - u0) / (u2 - u0) == pytest.approx(0.25, abs=1e-3)
    assert v1 == pytest.approx((v0 + v2) / 2, abs=0.1)
    assert 0 <= v2 < v0 <= HEIGHT


def test_a_value_that_is_not_finite_breaks_the_line():
    figure = chart(Series("a", [1, 2, 3, 4], [1.0, 2.0, math.nan, 4.0]))
    path = figure.find("svg/g[@class='line s0']/path")
    assert path is not None
    assert re.findall("[ML]", path.attrib["d"]) == ["M", "L", "M"]


def test_every_series_is_in_the_legend_and_described():
    text = line_chart(
        [Series("<loss>", [1, 2], [3.0, 1.5]), Series("none", [], [])], title="T", x_label="epoch", y_label="y"
    )
    figure = ET.fromstring(text)
    entries = ["".join(li.itertext()) for li in figure.iter("li")]
    assert entries == ["<loss> 1.5", "none not recorded"]
    svg = figure.find("svg")
    assert svg is not None
    assert svg.attrib["aria-label"] == "T: <loss> from 3 at 1 to 1.5 at 2."


def test_long_series_keep_few_markers_and_the_last_one():
    figure = chart(Series("a", list(range(1000)), [float(x) for x in range(1000)]))
    titles = [t.text for t in figure.iter("title")]
    assert len(titles) <= 41
    assert "a, x 999: 999.0" in titles
    assert len(line_points(figure)) == 1000


def test_one_point_and_no_points():
    assert len(line_points(chart(Series("a", [1], [2.0])))) == 1
    empty = chart(Series("a", [1], [math.nan]))
    assert empty.find("svg") is None
    assert "Nothing was recorded" in "".join(empty.itertext())


def test_x_range_is_shared_by_charts():
    figure = chart(Series("a", [5, 10], [1.0, 2.0]), x_range=(0, 10))
    (u, _), _ = line_points(figure)
    assert u == pytest.approx((LEFT + WIDTH - RIGHT) / 2)


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="2 x values and 1 y"):
        chart(Series("a", [1, 2], [1.0]))


def test_error_bars_reach_from_end_to_end_and_widen_the_axis():
    html = line_chart([Series("a", [0, 1], [2.0, 3.0], [(1.0, 3.0), (2.0, 9.5)])], title="t", x_label="x", y_label="y")
    bars = re.findall(r'class="bar" d="M([\d.]+) ([\d.]+)h6m-3 0V([\d.]+)', html)
    assert len(bars) == 2
    (_, low, high), (_, low2, high2) = ([float(v) for v in bar] for bar in bars)
    # One unit is as long in both bars: 2 units and 7.5 units.
    assert (low2 - high2) / (low - high) == pytest.approx(7.5 / 2, rel=1e-2)
    assert ">10</text>" in html
    pair = [Series(name, [0, 1], [2.0, 3.0], [(1.0, 3.0), (2.0, 9.5)]) for name in "ab"]
    html = line_chart(pair, title="t", x_label="x", y_label="y")
    places = [float(x) for x in re.findall(r'class="bar" d="M([\d.]+)', html)]
    assert places[2] - places[0] == places[3] - places[1] == 4, "no bar hides another"
    assert 46 <= min(places) < max(places) + 6 <= 388, "nor the numbers of the axis"
    with pytest.raises(ValueError, match="2 points and 1 error bars"):
        line_chart([Series("a", [0, 1], [2, 3], [(1, 2)])], title="t", x_label="x", y_label="y")
