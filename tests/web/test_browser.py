"""A walk through the page in a real Chromium: upload, filter, explain, feedback, export, dark, keyboard only; and axe.

CROSSCAM_SCREENSHOTS=FOLDER keeps an image of every station, to be looked at.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from crosscam.web.app import create_app
from crosscam.web.server import bind
from crosscam.web.server_settings import Settings
from crosscam.web.service import Service

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the walk needs: pip install playwright axe-playwright-python"
)
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="the walk needs: pip install axe-playwright-python"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for all walks."""
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    """A server on a free port of this machine."""
    listening = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(service, Settings(), "people.gallery"), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=20)
    listening.close()


@pytest.fixture
def file(image: bytes, tmp_path: Path) -> Path:
    """An image to upload."""
    path = tmp_path / "person.jpg"
    path.write_bytes(image)
    return path


def opened(browser: Any, address: str, **options: Any) -> Any:
    """A page that fails the test by any complaint in its console."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}, **options).new_page()
    page.complaints = []
    page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: page.complaints.append(str(e)))
    page.on("request", lambda r: page.complaints.append(r.url) if not r.url.startswith((address, "data:")) else None)
    page.goto(address)
    return page


def keep(page: Any, name: str) -> None:
    """An image for whoever wants to look."""
    folder = os.environ.get("CROSSCAM_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def no_serious_fault(page: Any) -> None:
    """Axe finds nothing serious or critical."""
    found = axe.Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


def set_slider(page: Any, name: str, value: str) -> None:
    page.locator(f"input[name={name}]").fill(value)


def test_upload_filter_explain_feedback_export(browser: Any, address: str, file: Path, service: Service) -> None:
    page = opened(browser, address)
    keep(page, "home")
    no_serious_fault(page)
    page.set_input_files("#picture", str(file))
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/search?q=p*")
    assert page.locator(".match").count() == 24
    assert page.locator(".match").first.locator(".verdict").inner_text() in ("same", "unsure", "other")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("[...document.querySelectorAll('.match img')].slice(0, 4).every(i => i.naturalWidth > 0)")
    keep(page, "matches")
    no_serious_fault(page)

    # Sliders show their value while they move, and the results follow without a new page.
    page.evaluate("window.untouched = true")
    set_slider(page, "feet", "2.5")
    assert page.locator("output[for=w-feet]").inner_text() == "2.5"
    page.wait_for_url("**feet=2.5*")
    assert page.locator(".match .verdict").count() == 0
    set_slider(page, "feet", "1")
    page.wait_for_selector(".match .verdict")
    page.get_by_label("1 20").or_(page.locator("input[name=cam][value='1']")).first.check()
    page.wait_for_url("**cam=1*")
    assert all("camera 1" in text for text in page.locator(".match .caption").all_inner_texts())
    set_slider(page, "last", "500")
    page.wait_for_url("**last=500*")
    keep(page, "filtered")
    assert "2023" in page.locator("output[for=last]").inner_text()
    page.locator("input[name=cam][value='1']").uncheck()
    set_slider(page, "last", "1000")
    page.wait_for_url(lambda url: "last" not in url and "cam" not in url)
    sync_api.expect(page.locator(".match")).to_have_count(24)

    page.get_by_role("button", name="Confirm: rank 1 is").click()
    page.wait_for_selector("#confirmed-name")
    page.get_by_role("button", name="Reject: rank 2 is").click()
    page.wait_for_selector("#rejected-name")
    assert page.evaluate("window.untouched") is True
    assert page.evaluate("document.activeElement.id") == "status"
    assert "1 confirmed image is part of the query. 1 rejected." in page.locator("#status").inner_text()
    assert sorted(j.same for j in service.judgments()) == [False, True]
    keep(page, "feedback")
    no_serious_fault(page)
    for name, start in (("report (HTML)", "<!doctype html>"), ("table (CSV)", "rank,id,name")):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        saved = Path(download.value.path())
        assert saved.read_text().startswith(start)
        if name.startswith("report"):
            report = browser.new_context().new_page()
            report.goto(f"file://{shutil.copy(saved, file.parent / 'report.html')}")
            assert report.locator(".hits img").count() > 20
            keep(report, "report")
            no_serious_fault(report)
    page.get_by_role("button", name="Take back").first.click()
    page.wait_for_selector("#confirmed-name", state="detached")

    page.get_by_role("link", name="same track").first.click()
    assert page.locator("h1").inner_text().startswith("Track t")
    keep(page, "track")
    page.go_back()
    page.get_by_role("link", name="Why? Rank 3", exact=True).click()
    page.wait_for_url("**/explain?*")
    assert page.locator(".maps img").count() == 4
    keep(page, "explanation")
    no_serious_fault(page)
    assert page.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_in_either_scheme(browser: Any, address: str, scheme: str) -> None:
    page = opened(browser, address, color_scheme=scheme)
    shades = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(shades) < 60) is (scheme == "dark")
    names = ["entries/1", "gallery", "calibration", "audit"]
    # The walk above has looked at these in the light.
    names += ["", "search?q=e1&cam=1", "explain?q=e1&entry=9"] if scheme == "dark" else ["entries", "search?q=e77"]
    for name in names:
        page.goto(f"{address}/{name}")
        keep(page, f"{name.partition('?')[0].replace('/', '-') or 'home'}-{scheme}")
        no_serious_fault(page)
    assert [c for c in page.complaints if "404" not in c] == []


def test_on_a_telephone_nothing_sticks_out(browser: Any, address: str) -> None:
    page = opened(browser, address)
    page.set_viewport_size({"width": 360, "height": 740})
    for name in ("", "search?q=e1", "explain?q=e1&entry=9", "entries/1", "gallery", "calibration", "audit"):
        page.goto(f"{address}/{name}")
        keep(page, f"{name.partition('?')[0].replace('/', '-') or 'home'}-telephone")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def focused(page: Any) -> str:
    """What has the focus, in words."""
    script = "(e => (e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || e.id).trim())"
    return str(page.evaluate(f"{script}(document.activeElement)"))


def tab_to(page: Any, words: str, limit: int = 120) -> None:
    """Press Tab until something with these words has the focus, which must be visible there."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        if words in focused(page):
            style = "getComputedStyle(document.activeElement)"
            assert page.evaluate(f"{style}.outlineStyle !== 'none' || document.activeElement.matches('.skip')")
            return
    raise AssertionError(f"Tab does not reach {words!r}; it ends at {focused(page)!r}.")


def choose(page: Any, file: Path) -> None:
    """Open the file chooser by a key. Chromium ignores the key where it comes before the page was painted."""
    for key in ("Enter", "Space", "Space"):
        try:
            with page.expect_file_chooser(timeout=5000) as chooser:
                page.keyboard.press(key)
        except sync_api.TimeoutError:
            continue
        chooser.value.set_files(str(file))
        return
    raise AssertionError("No key opens the file chooser.")


def test_by_keyboard_alone(browser: Any, address: str, file: Path, service: Service) -> None:
    page = opened(browser, address)
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    tab_to(page, "Image of a person")
    choose(page, file)
    tab_to(page, "Search")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=p*")
    tab_to(page, "head")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.wait_for_url("**head=1.5*")
    tab_to(page, "Confirm: rank 1 is")
    page.keyboard.press("Enter")
    page.wait_for_selector("#confirmed-name")
    assert len(service.judgments()) == 1
    tab_to(page, "Why? Rank 1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/explain?*head=1.5*")
    assert page.complaints == []


def test_without_a_script(browser: Any, address: str, file: Path, service: Service) -> None:
    page = opened(browser, address, java_script_enabled=False)
    page.set_input_files("#picture", str(file))
    page.get_by_role("button", name="Search").click()
    page.locator("input[name=cam][value='2']").check()
    page.get_by_role("button", name="Search again").click()
    assert all("camera 2" in text for text in page.locator(".match .caption").all_inner_texts())
    page.get_by_role("button", name="Reject: rank 1 is").click()
    assert "1 rejected" in page.locator("#status").inner_text()
    assert [j.same for j in service.judgments()] == [False]
    page.get_by_role("link", name="Why? Rank 1", exact=True).click()
    assert page.locator("tfoot").count() == 1


def test_an_image_is_dropped(browser: Any, address: str, image: bytes) -> None:
    page = opened(browser, address)
    page.evaluate(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "a.jpg", { type: "image/jpeg" }));
          document.querySelector("main").dispatchEvent(
            new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        list(image),
    )
    page.wait_for_url("**/search?q=p*")
    assert page.locator(".match").count() == 24
