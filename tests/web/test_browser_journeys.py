"""A walk through journeys in a real Chromium: look, split, merge, undo, by mouse and by keyboard; and axe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_browser import address, browser, keep, no_serious_fault, opened, pytestmark, tab_to  # noqa: F401
from test_journey_pages import kept, linked, with_several  # noqa: F401 - a fixture


def decided(page: Any) -> str:
    """What the page says was decided last."""
    return str(page.locator("#said [role=status]").inner_text())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_look_split_merge_undo(browser: Any, address: str, linked: Path, scheme: str) -> None:  # noqa: F811
    before = kept(linked)
    number = with_several(before)
    tracks = before.person(number).tracks  # type: ignore[union-attr]
    page = opened(browser, address, color_scheme=scheme)
    page.goto(f"{address}/journeys?all=true")
    keep(page, f"journeys-{scheme}")
    no_serious_fault(page)
    page.goto(f"{address}/journeys/{number}")
    keep(page, f"person-{scheme}")
    no_serious_fault(page)

    page.locator(f"input[name=track][value='{tracks[-1].name}']").check()
    page.get_by_role("button", name="Split off the ticked tracks").click()
    new = max(p.number for p in kept(linked).people)
    assert f"1 track of person {number} became person {new}" in decided(page)
    assert page.url == f"{address}/journeys/{number}"
    assert page.locator(".station").count() == len(tracks) - 1
    keep(page, f"split-{scheme}")
    no_serious_fault(page)

    page.get_by_label("merge with person").fill(str(new))
    page.get_by_role("button", name="Merge", exact=True).click()
    assert f"person {new} became part of person {number}" in decided(page)
    assert page.locator(".station").count() == len(tracks)
    keep(page, f"merged-{scheme}")
    no_serious_fault(page)

    for _ in range(2):
        page.get_by_role("button", name="Undo it").click()
    assert page.locator("#said").count() == 0
    assert kept(linked) == before
    assert page.complaints == []


def test_by_keyboard_and_on_a_telephone(browser: Any, address: str, linked: Path) -> None:  # noqa: F811
    before = kept(linked)
    number = with_several(before)
    page = opened(browser, address)
    page.set_viewport_size({"width": 360, "height": 740})
    for name in ("journeys?all=true", f"journeys/{number}"):
        page.goto(f"{address}/{name}")
        keep(page, f"{name.partition('?')[0].replace('/', '-')}-telephone")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    tab_to(page, "another person than the rest")
    page.keyboard.press("Space")
    tab_to(page, "Split off the ticked tracks")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said")
    tab_to(page, "Undo it")
    page.keyboard.press("Enter")
    page.wait_for_selector("#said", state="detached")
    assert kept(linked) == before
