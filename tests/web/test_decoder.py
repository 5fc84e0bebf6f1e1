"""Uploads are decoded in processes that are ended when they take too long."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from crosscam.data.images import decode_image
from crosscam.errors import ImageError
from crosscam.web import decoder
from crosscam.web.decoder import Decoders, Turn


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    """One process."""
    found = Decoders(1, 20.0, 25_000_000)
    yield found
    found.close()


def slow(side: int = 4990, scans: int = 60) -> bytes:
    """A JPEG that takes seconds."""
    out = io.BytesIO()
    Image.new("RGB", (side, side)).save(out, "JPEG", quality=10, progressive=True)
    jpeg = out.getvalue()
    return jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * (scans - 10) + b"\xff\xd9"


def decode_all(turn: Turn, images: list[bytes]) -> None:
    """One after another, in one turn."""
    for data in images:
        turn.decode(data)


def test_the_same_pixels(decoders: Decoders, image: bytes) -> None:
    with decoders.turn() as turn:
        for _ in range(3):
            found = turn.decode(image)
            np.testing.assert_array_equal(found, decode_image(image))
            found[0, 0] = 1  # the caller's own
        for data, told in ((b"", "is empty"), (b"x", "not an image"), (image[:300], "damaged or cut short")):
            with pytest.raises(ImageError, match=told):
                turn.decode(data)
        assert turn.decode(image).ndim == 3


def test_what_takes_too_long_is_ended(image: bytes) -> None:
    found = Decoders(1, 4.0, 25_000_000)
    began = time.perf_counter()
    with found.turn() as turn, pytest.raises(ImageError, match="took too long to decode"):
        decode_all(turn, [slow()] * 20)
    assert time.perf_counter() - began < 8
    process = found._all[0]._process
    assert process is not None
    assert process.wait(timeout=5) == -signal.SIGKILL
    for _ in range(2):  # and another takes its place
        with found.turn() as turn:
            assert turn.decode(image).ndim == 3
    found.close()


def test_others_are_decoded_meanwhile(image: bytes) -> None:
    found = Decoders(2, 20.0, 25_000_000)

    def long() -> None:
        with found.turn() as turn:
            turn.decode(slow())

    for _ in range(2):
        with found.turn() as turn:
            turn.decode(image)
    busy = threading.Thread(target=long)
    busy.start()
    time.sleep(0.1)
    with found.turn() as turn:
        turn.decode(image)
    assert busy.is_alive()
    busy.join()
    found.close()


def test_a_process_that_dies_is_replaced(decoders: Decoders, image: bytes) -> None:
    with decoders.turn() as turn:
        turn.decode(image)
        process = decoders._all[0]._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert turn.decode(image).ndim == 3


def test_memory_has_a_limit(image: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource")
    monkeypatch.setattr(decoder, "MEMORY", 400 << 20)
    monkeypatch.setattr(decoder, "BYTES_PER_PIXEL", 0)
    found = Decoders(1, 20.0, 60_000_000)
    out = io.BytesIO()
    Image.new("RGBA", (7000, 7000)).save(out, "PNG")
    with found.turn() as turn:
        with pytest.raises(ImageError):
            turn.decode(out.getvalue())
        assert turn.decode(image).ndim == 3
    found.close()


def test_a_process_that_only_decodes_does_without_torch() -> None:
    """Torch takes seconds and hundreds of megabytes of a process whose memory is limited."""
    text = (
        "import runpy, sys; names = runpy.run_path(sys.argv[1]); names['_alone']();"
        "import crosscam.data.images; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-I", "-c", text, decoder.__file__], check=False).returncode == 0
