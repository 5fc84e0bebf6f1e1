"""``crosscam serve``: what it refuses before it listens, and a whole life of a server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from crosscam.data.datasets.readers import read_dataset
from crosscam.gallery import ModelIdentity, NewEntry, create_gallery, open_gallery
from crosscam.gallery.source_network import SOURCE, identify_model
from crosscam.inference.extractor import Extractor
from crosscam.web import server
from crosscam.web.service import Service

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def gallery(place: Path) -> Path:
    """A gallery of the tiny network's."""
    extractor = Extractor.load(place / "run")
    samples = read_dataset(place / "people").query
    descriptors = extractor([s.path for s in samples])
    identity = identify_model(place / "run", extractor)
    with create_gallery(place / "g", extractor.layout, identity) as made:
        made.add(descriptors, [NewEntry(s.path.name, s.camid) for s in samples], model=identity.fingerprint)
    return place / "g"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--gallery nowhere", "nowhere"),
        ("--gallery g --host 0.0.0.0", "needs a token"),
        ("--gallery g --token-file people", "cannot be read"),
        ("--gallery g --model nowhere", "nowhere"),
        ("--gallery g --rate 0", "Expected at least 1"),
        ("--gallery g --audit nowhere/log", "cannot be written"),
        ("--gallery g --port 99999", "There is no port 99999"),
        ("--gallery g --host 192.0.2.1 --token-file token", "Cannot listen on 192.0.2.1"),
        ("--gallery milvus://localhost:1/x", "Give --audit FILE"),
        ("--gallery other --model run", "another"),
        ("", "No gallery to serve"),
        ("g --gallery other", "given twice"),
    ],
)
def test_what_cannot_be_served(crosscam: Run, place: Path, gallery: Path, options: str, words: str) -> None:
    (place / "token").write_text("0123456789abcdef0123\n")
    create_gallery(place / "other", Extractor.load(place / "run").layout, ModelIdentity("0" * 16, "another")).close()
    status, out, err = crosscam(f"serve {options}")
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_without_the_extra_it_says_what_to_install(crosscam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "crosscam.web.server", raising=False)
    assert "pip install 'crosscam[web]'" in crosscam("serve --gallery g")[2]


def test_it_serves_until_it_is_stopped(place: Path, gallery: Path) -> None:
    command = [sys.executable, "-m", "crosscam", "serve", "g", "--model", "run", "--port", "0"]
    src = str(Path(__file__).parents[2] / "src")
    environment = os.environ | {"PYTHONPATH": src, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert found is not None
        assert "Uploads are described by run." in first
        # A proxy of the surroundings has no business with this machine's own address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{found[0]}/api/v1/info", timeout=30) as answer:
            assert json.load(answer)["entries"] == len(read_dataset(place / "people").query)
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    assert process.returncode in (0, 130)
    shutil.rmtree(gallery)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, str]]:
    """For each server that would have started: whether it takes uploads, and the sentence on them in its first line."""
    found: list[tuple[bool, str]] = []

    def run_server(service: Service, settings: object, name: str, say: object, uploads: str) -> None:
        found.append((service.extractor is not None, uploads))

    monkeypatch.setattr(server, "run_server", run_server)
    return found


def test_without_a_model_it_takes_the_network_that_the_gallery_names(
    crosscam: Run, place: Path, served: list[tuple[bool, str]]
) -> None:
    assert crosscam("gallery create kept run")[0] == 0
    with open_gallery(place / "kept") as made:
        assert made.document(SOURCE) == str(place / "run")
    assert crosscam("serve kept")[0] == 0
    assert served[-1] == (True, f"Uploads are described by {place / 'run'}.")
    # Another network in its place is never taken.
    (place / "run").rename(place / "moved")
    assert crosscam("serve --gallery kept")[0] == 0
    assert served[-1] == (False, f"It takes no uploads: {place / 'run'} is gone. Give --model RUN_FOLDER.")
    with open_gallery(place / "kept", write=True) as made:
        made.set_document(SOURCE, "rrid-mini")
    assert crosscam("serve kept")[0] == 0
    assert served[-1][0] is False
    assert "rrid-mini is another network than the gallery's" in served[-1][1]
    (place / "moved").rename(place / "run")


def test_a_gallery_that_names_no_place_is_served_by_the_shipped_network_of_that_name(
    crosscam: Run, place: Path, gallery: Path, served: list[tuple[bool, str]]
) -> None:
    mini = Extractor.load(Path("rrid-mini"))
    for place_name, name in (("new", "rrid-mini"), ("old", "rrid-mini in rrid-mini")):
        create_gallery(place / place_name, mini.layout, ModelIdentity(mini.fingerprint, name)).close()
        assert crosscam(f"serve {place_name}")[0] == 0
        assert served[-1] == (True, "Uploads are described by rrid-mini.")
    assert identify_model(Path("rrid-mini"), mini).name == "rrid-mini"
    assert crosscam("serve g")[0] == 0
    assert served[-1][0] is False
    assert "does not say where its network" in served[-1][1]
