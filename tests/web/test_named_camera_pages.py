"""The pages call cameras by their names."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.testclient import TestClient

from crosscam.gallery import open_gallery
from crosscam.inference.extractor import Extractor
from crosscam.web.app import create_app
from crosscam.web.server_settings import Limits, Settings
from crosscam.web.service import Service


def test_pages_show_the_names_of_cameras(place: Path, extractor: Extractor) -> None:
    with open_gallery(place, write=True) as gallery:
        gallery.name_cameras({gallery.get([1])[0].camid: "Kamera <Süd>"})
    service = Service(str(place), extractor, place / "audit.jsonl", Limits())
    client = TestClient(create_app(service, Settings(), "people.gallery"), base_url="http://127.0.0.1:8700")
    for page in ("/search?q=e1", "/gallery", "/entries/1", "/entries"):
        text = client.get(page, headers={"accept": "text/html"}).text
        assert "Kamera &lt;Süd&gt;" in text, page
    filters = client.get("/search?q=e1", headers={"accept": "text/html"}).text
    assert re.search(r'> Kamera &lt;Süd&gt;<span class="count">, \d+ images</span>', filters)
    service.close()
