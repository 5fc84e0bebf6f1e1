"""The hits of a search as a page."""

from __future__ import annotations

import numpy as np
import pytest
from test_page import Page

from crosscam.gallery.entries import Entry, Hit
from crosscam.models.output import Block
from crosscam.report.hits import is_right, render_hits

LAYOUT = (Block("global", 0, 4, 1, "global", (0.0, 1.0)),)


def hit(number: int, pid: int | None) -> Hit:
    entry = Entry(number, f"/x/{number}.jpg", 2, pid, None, None, 0.0)
    return Hit(entry, 0.5, np.array([0.25]))


def page(pid: int | None) -> str:
    hits = [hit(1, 7), hit(2, 8), hit(3, None), hit(4, -1)]
    return render_hits([b"jpeg"], hits, {}, LAYOUT, subtitle="all", pid=pid)


def test_right_and_wrong_are_marked_where_identities_are_known() -> None:
    found = Page(page(7))
    assert [a["class"] for a in found.all("li") if "tile" in str(a.get("class"))] == [
        "tile right",
        "tile wrong",
        "tile",
        "tile",
    ]
    words = "".join(found.text)
    assert (words.count("✓ right"), words.count("✗ wrong")) == (1, 1)
    assert "right</b>" not in page(None)


def test_the_query_has_its_word_and_the_bars_a_legend() -> None:
    text = page(None)
    assert "<figcaption>query</figcaption>" in text
    assert 'aria-label="Colors of the bars"' in text
    assert "<nav" not in text, "one section needs no links"


@pytest.mark.parametrize(
    ("pid", "other", "right"), [(7, 7, True), (7, 0, False), (None, 7, None), (7, None, None), (7, -1, None)]
)
def test_junk_and_unknown_are_neither(pid: int | None, other: int | None, right: bool | None) -> None:
    assert is_right(pid, other) is right
