"""What the search page shows beside its matches."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient
from test_pages import checked

from crosscam.gallery import open_gallery
from crosscam.web.service import Service

HTML = {"accept": "text/html"}
Make = Callable[..., TestClient]


def shown(page: str) -> list[int]:
    """Entries among the matches."""
    return [int(n) for n in re.findall(r'name="entry" value="(\d+)"', page)]


def uploaded(client: TestClient, image: bytes) -> str:
    """The address of a search with an upload."""
    answer = client.post(
        "/upload", files={"picture": ("a.jpg", image, "image/jpeg")}, headers=HTML, follow_redirects=False
    )
    return str(answer.headers["location"])


def test_a_search_leaves_out_the_query_s_own_image(client: TestClient, image: bytes, service: Service) -> None:
    page = client.get(uploaded(client, image), headers=HTML).text
    checked(page)
    assert "The gallery has this image:" in page
    own = int(re.findall(r"The gallery has this image: <a href=\"/entries/(\d+)\"", page)[0])
    assert own not in shown(page)
    assert service.entry(own).path.endswith(service.entry(1).path.rpartition("/")[2])
    assert 1 not in shown(client.get("/search?q=e1&scope=all", headers=HTML).text)


def test_other_cameras_only_is_on_where_the_query_has_a_camera(
    client: TestClient, image: bytes, service: Service
) -> None:
    camera = service.entry(1).camid
    for address in ("/search?q=e1", uploaded(client, image)):
        page = client.get(address, headers=HTML).text
        assert re.search(r'name="scope" value="other" checked', page)
        assert all(service.entry(n).camid != camera for n in shown(page))
        page = client.get(f"{address}&scope=all", headers=HTML).text
        assert re.search(r'name="scope" value="all" checked', page)
        assert any(service.entry(n).camid == camera for n in shown(page))
    ticked = client.get(f"/search?q=e1&scope=other&cam={camera}", headers=HTML).text
    assert shown(ticked)
    assert all(service.entry(n).camid == camera for n in shown(ticked))
    page = client.get("/search?q=e1&scope=all&page=2", headers=HTML).text
    assert "scope=all" in page[page.index('class="turn"') :]
    rows = client.get("/export.csv?q=e1").text.splitlines()
    assert str(camera) not in {row.split(",")[3] for row in rows[1:]}


def test_without_a_camera_nothing_is_left_out(client: TestClient, place: Path, service: Service) -> None:
    with open_gallery(place, write=True) as gallery:
        gallery.update(range(1, 61), camid=4)
    service._state.changed()
    page = client.get("/search?q=e1", headers=HTML).text
    assert "scope" not in page
    assert len(shown(page)) == 24
    assert "60 images of 1 camera, " in client.get("/", headers=HTML).text


def test_file_names_legend_and_words_for_the_next_page(client: TestClient, service: Service) -> None:
    page = client.get("/search?q=e1", headers=HTML).text
    for number in shown(page):
        assert service.entry(number).path.rpartition("/")[2] in page
    assert 'aria-label="Colors of the bars"' in page
    assert "Short: here they agree." in page
    assert ">next</a>" in page
    assert "farther" not in page
    assert ">previous</a>" in client.get("/search?q=e1&page=2", headers=HTML).text
    # Weights leave no verdict, and no empty line in its place.
    page = client.get("/search?q=e1&head=2", headers=HTML).text
    assert not re.search(r"<br>\s*<br>", page)


def test_right_and_wrong_are_marked_by_color_and_text(client: TestClient, place: Path, service: Service) -> None:
    page = client.get("/search?q=e1", headers=HTML).text
    assert 'class="mark' not in page
    first, second, third, junk = shown(page)[:4]
    with open_gallery(place, write=True) as gallery:
        gallery.update([1, first], pid=7)
        gallery.update([second], pid=8)
        gallery.update([junk], pid=-1)
    page = client.get("/search?q=e1", headers=HTML).text
    checked(page)
    tiles = {int(re.findall(r'name="entry" value="(\d+)"', t)[0]): t for t in page.split('<li class="match')[1:]}
    assert tiles[first].startswith(' right">')
    assert "right: same identity" in tiles[first]
    assert tiles[second].startswith(' wrong">')
    assert "wrong: another identity" in tiles[second]
    for number in (third, junk):
        assert tiles[number].startswith('">')
        assert 'class="mark' not in tiles[number]


def test_the_explanation_says_which_parts_agree_beyond_chance(client: TestClient) -> None:
    page = client.get("/explain?q=e1&entry=5", headers=HTML).text
    checked(page)
    assert re.search(r"random pairs of this gallery\.", page)
    assert len(re.findall(r'alt="(Query|Match)( with a map of what makes the two agree)?"', page)) == 4
    assert "stripe 1 of 2" in page


def test_the_login_page_has_a_style_that_its_policy_allows(make: Make) -> None:
    strangers = make(host="0.0.0.0", tokens={"0" * 64: "anna"})
    answer = strangers.get("/login")
    style = answer.text[answer.text.index("<style>") + 7 : answer.text.index("</style>")]
    assert ":focus-visible" in style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert "A token is the secret word" in answer.text
    assert 'aria-describedby="token-hint"' in answer.text
    wrong = strangers.post("/login", data={"token": "nonsense"})
    assert "<style>" in wrong.text
    assert 'role="alert"' in wrong.text
