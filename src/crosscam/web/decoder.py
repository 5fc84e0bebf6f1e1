"""Decodes uploads in a process of their own, which can be ended at any moment, whatever a file does to its decoder.

This file is also the program of that process. It is run by its path, and imports the decoder alone: the package as a
whole imports torch, which takes seconds and hundreds of megabytes.
"""

from __future__ import annotations

import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

REQUEST = struct.Struct("<QQ")  # bytes of the file, most pixels
ANSWER = struct.Struct("<QQQ")  # height and width of the image, or zeros and the bytes of a message
MEMORY = 2 << 30
BYTES_PER_PIXEL = 48


class Decoders:
    """Some processes that decode, each for one request at a time; they start when they are first needed.

    Args:
        count: processes.
        seconds: for all images of a request.
        pixels: most pixels of an image.
    """

    def __init__(self, count: int, seconds: float, pixels: int) -> None:
        self._seconds = seconds
        self._all = [_Process(pixels) for _ in range(count)]
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Wait for a free process, and have it for some images."""
        process = self._free.get()
        try:
            yield Turn(process, time.monotonic() + self._seconds)
        finally:
            self._free.put(process)

    def close(self) -> None:
        """End the processes."""
        for process in self._all:
            process.end()


class Turn:
    """The use of a process for one request, up to a moment of ``time.monotonic``."""

    def __init__(self, process: _Process, until: float) -> None:
        self._process, self._until = process, until

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Pixels as of :func:`crosscam.data.images.decode_image`.

        Raises:
            ImageError: an image that cannot be read, or that took too long or too much memory.
        """
        from crosscam.errors import ImageError

        found = self._process.ask(data, max(0.01, self._until - time.monotonic()))
        if isinstance(found, str):
            raise ImageError(found)
        return found


class _Process:
    """One process, started anew after it was ended."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, data: bytes, seconds: float) -> NDArray[np.uint8] | str:
        """The pixels, or what is wrong."""
        late = threading.Event()
        process = self._running()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            return _exchange(process, data, self._pixels)
        except (OSError, EOFError):
            process.kill()
            if late.is_set():
                return "The image took too long to decode, and was given up. Save it anew, smaller."
            return "The image could not be decoded: it needs too much memory, or is damaged. Save it anew, smaller."
        finally:
            timer.cancel()
            if late.is_set():
                process.wait()

    def end(self) -> None:
        """End it for good."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", __file__, str(MEMORY + BYTES_PER_PIXEL * self._pixels)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        return self._process


def _exchange(process: subprocess.Popen[bytes], data: bytes, pixels: int) -> NDArray[np.uint8] | str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(REQUEST.pack(len(data), pixels))
    process.stdin.write(data)
    process.stdin.flush()
    height, width, length = ANSWER.unpack(_read(process.stdout, ANSWER.size))
    if not height:
        return bytes(_read(process.stdout, length)).decode("utf-8", "replace")
    return np.frombuffer(_read(process.stdout, height * width * 3), np.uint8).reshape(height, width, 3)


def _read(pipe: IO[bytes], count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while len(view):
        done = pipe.readinto(view)  # type: ignore[attr-defined]
        if not done:
            raise EOFError
        view = view[done:]
    return data


def _alone() -> None:
    """Make the package importable without what its first lines import."""
    for name, folder in (
        ("crosscam", Path(__file__).parents[1]),
        ("crosscam.data", Path(__file__).parents[1] / "data"),
    ):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


def _main() -> None:
    """Take files from standard input and give pixels, until it ends."""
    _alone()
    from crosscam.data.images import decode_image
    from crosscam.errors import ImageError

    # Ctrl-C is for the server, which ends this process by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import resource

        most = int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, ValueError, OSError):  # not on this system
        pass
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            size, pixels = REQUEST.unpack(_read(sys.stdin.buffer, REQUEST.size))
            data = bytes(_read(sys.stdin.buffer, size))
        except EOFError:
            return
        try:
            found = decode_image(data, max_pixels=pixels, name="the file")
        except ImageError as error:
            text = str(error).encode()
            answers.write(ANSWER.pack(0, 0, len(text)) + text)
        else:
            answers.write(ANSWER.pack(*found.shape[:2], 0))
            answers.write(np.ascontiguousarray(found).data)
        answers.flush()


if __name__ == "__main__":
    _main()
