"""Forked children, and a close while others search: one clear line each, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_gallery import MODEL, filled

from crosscam.errors import GalleryBusyError
from crosscam.gallery import Where, open_gallery, store

F = MODEL.fingerprint
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_a_child(act: Callable[[], str]) -> str:
    """What a forked child says, within 30 seconds."""
    out, answer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            said = act()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(answer, said.encode())
        os._exit(0)
    os.close(answer)
    with os.fdopen(out) as file:
        said = file.read()
    assert os.waitpid(child, 0)[1] == 0, "the child waited for ever"
    return said


def test_a_writer_stays_with_the_process_that_opened_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.0)
    gallery, data = filled(tmp_path / "g")
    for act in (
        lambda: str(len(gallery)),
        lambda: str(gallery.forget(Where(ids=(1,)))),
        lambda: str(gallery.search(data.descriptors[:1], model=F)),
        lambda: str(gallery.verify()),
    ):
        said = in_a_child(act)
        assert said.startswith("GalleryError: ")
        assert "was opened for writing by the process that this one was forked from" in said
        assert "\n" not in said

    def other() -> str:
        gallery.close()
        with open_gallery(tmp_path / "g") as reader:
            return str(len(reader))

    assert in_a_child(other) == "120"
    with pytest.raises(GalleryBusyError):
        open_gallery(tmp_path / "g", write=True)
    assert gallery.forget(Where(ids=(1,))) == 1
    gallery.close()


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    gallery, _ = filled(tmp_path / "g")
    hold, let_go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(let_go)
        os.read(hold, 1)
        os._exit(0)
    os.close(hold)
    gallery.close()
    with open_gallery(tmp_path / "g", write=True) as following:
        assert following.verify().sound
    os.close(let_go)
    os.waitpid(child, 0)


def test_a_reader_goes_on_in_a_child_and_in_its_parent(tmp_path: Path) -> None:
    gallery, data = filled(tmp_path / "g")
    with open_gallery(tmp_path / "g") as reader:
        assert len(reader) == 120

        def act() -> str:
            return f"{len(reader)}, {reader.search(data.descriptors[:1], 1, model=F)[0][0].entry.id}"

        # While another thread is in the database, too.
        over = threading.Event()
        busy = threading.Thread(target=lambda: [reader.entries() for _ in iter(over.is_set, True)])
        busy.start()
        for _ in range(5):
            assert in_a_child(act) == "120, 1"
        over.set()
        busy.join()
        gallery.forget(Where(ids=(2,)))
        assert len(reader) == 119
    gallery.close()


def test_closing_while_others_search(tmp_path: Path) -> None:
    filled(tmp_path / "g")[0].close()
    for _ in range(5):
        gallery, said = open_gallery(tmp_path / "g"), set()
        query = gallery.descriptors([1])

        def search() -> None:
            try:
                while True:
                    gallery.search(query, 3, model=F)  # noqa: B023
            except Exception as error:
                said.add(f"{type(error).__name__}: {error}")  # noqa: B023

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        gallery.close()
        for thread in threads:
            thread.join()
        assert said == {f"GalleryError: {tmp_path / 'g'} has been closed. Open it again."}


EXTRACTOR = """
import os, signal, sys
import numpy as np, torch
torch.set_num_threads(2)
from crosscam.inference.extractor import Extractor
from crosscam.recipes.catalogue import build_model, find_recipe
def new():
    recipe = find_recipe("demo")
    return Extractor(build_model(recipe, num_ids=0, pretrained=False), recipe)
extractor, images = new(), [np.zeros((64, 32, 3), np.uint8)] * 10
extractor(images)
if os.fork() == 0:
    signal.alarm(60)
    for act in (lambda: extractor(images), lambda: new()(images)):
        try:
            print(act().shape[0])
        except Exception as error:
            print(type(error).__name__, error)
    sys.stdout.flush()
    os._exit(0)
sys.exit(os.wait()[1] != 0)
"""


def test_an_extractor_says_so_in_a_forked_child() -> None:
    """It would wait for the threads of its parent for ever; one that is loaded in the child works."""
    done = subprocess.run([sys.executable, "-c", EXTRACTOR], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    refused, described = done.stdout.splitlines()
    assert refused.startswith("EngineError This extractor was loaded in process ")
    assert "Load it in the process that uses it" in refused
    assert described == "10"
