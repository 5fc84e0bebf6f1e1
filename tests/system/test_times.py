"""Times as people write them."""

from __future__ import annotations

import pytest

from crosscam.system.text import read_date, read_span, read_time

DAY = 1_795_478_400.0  # 2026-11-24 00:00 UTC


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-24", DAY),
        ("2026-11-24 08:30", DAY + 30_600),
        ("2026-11-24T08:30:15", DAY + 30_615),
        ("2026-11-24T08:30Z", DAY + 30_600),
        ("2026-11-24T08:30+01:00", DAY + 27_000),
        ("1764320000", 1_764_320_000.0),
        ("-2.5", -2.5),
        ("2h", DAY - 7200),
        ("1d12h", DAY - 129_600),
    ],
)
def test_a_time_is_a_date_a_span_before_now_or_seconds(text: str, seconds: float) -> None:
    assert read_time(text, "--time", now=DAY) == seconds


def test_a_date_as_the_last_time_is_the_whole_day() -> None:
    last = read_time("2026-11-24", "--time-to", end=True)
    assert DAY + 86_399.999 < last < DAY + 86_400
    assert read_time("2026-11-24 08:30", "--time-to", end=True) == DAY + 30_600


@pytest.mark.parametrize(
    "text",
    [
        "noon",
        "2026-13-01",
        "2026-02-30",
        "24.11.2026",
        "",
        "3 fortnights",
        "20261124",
        "202611240830",
        "20261124083000",
        "1711012412000",
    ],
)
def test_what_is_no_time_is_told_with_the_option(text: str) -> None:
    with pytest.raises(ValueError, match=r"^--time-from"):
        read_time(text, "--time-from")


def test_spans() -> None:
    assert read_span("30d") == 30 * 86_400
    assert read_span("1h30m") == 5400
    assert read_span(" 1.5 h ") == 5400
    for wrong in ("30", "d", "-3d", "30y", "1h x"):
        with pytest.raises(ValueError, match="not a time span"):
            read_span(wrong)
    with pytest.raises(ValueError, match="month must be in"):
        read_date("2026-13-01")
