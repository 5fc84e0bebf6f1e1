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

from crosscam.data.readers import read_dataset
from crosscam.extraction import Extractor
from crosscam.gallery import ModelIdentity, NewEntry, create_gallery
from crosscam.gallery.filling import identify_model

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
    monkeypatch.delitem(sys.modules, "crosscam.web.running", raising=False)
    assert "pip install 'crosscam[web]'" in crosscam("serve --gallery g")[2]


def test_it_serves_until_it_is_stopped(place: Path, gallery: Path) -> None:
    command = [sys.executable, "-m", "crosscam", "serve", "--gallery", "g", "--model", "run", "--port", "0"]
    src = str(Path(__file__).parents[2] / "src")
    environment = os.environ | {"PYTHONPATH": src, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
        assert found is not None
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
