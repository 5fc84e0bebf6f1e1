"""Standard output of any encoding, closed or full, and errors that are not the user's."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crosscam.cli import recipes
from crosscam.cli.main import REPORT
from crosscam.cli.streams import HANDLER
from crosscam.errors import ArgumentError, CrosscamError

COMMAND = [sys.executable, "-m", "crosscam"]


def bash(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which CS stands for the command."""
    script = "CS() { " + f'"{sys.executable}" -m crosscam "$@"; ' + "}; " + line
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, **environment}, errors="replace"
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252"])
def test_help_is_shown_in_every_encoding(encoding: str) -> None:
    done = bash("CS train --help", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: crosscam train")
    assert "--data PATH" in done.stdout
    assert "?" not in done.stdout.replace("�", "")


def test_characters_that_a_stream_cannot_show_are_replaced_by_like_ones() -> None:
    assert "┃ ä… ─ 中 \udce9".encode("ascii", HANDLER) == b"| a... - ? \\xe9"
    assert "a\udce9".encode("utf-8", HANDLER) == b"a\\xe9"


@pytest.mark.parametrize("words", ["train --help", "recipes"])
@pytest.mark.parametrize("closed", ["| head -1; exit ${PIPESTATUS[0]}", "2>&1 | :; exit ${PIPESTATUS[0]}", ">&-"])
def test_a_closed_output_is_no_traceback(words: str, closed: str) -> None:
    done = bash(f"CS {words} {closed}")
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that stands for a full disk")
def test_an_output_on_a_full_disk_is_one_line() -> None:
    done = bash("CS recipes > /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("crosscam: Cannot write (No space left on device)")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CrosscamError("Ours."), 2),
        (ArgumentError("Ours too."), 2),
        (PermissionError(errno.EACCES, "Permission denied", "somewhere"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 2),
        (ValueError("not ours"), 1),
        (RuntimeError("not ours"), 1),
        (KeyError("not ours"), 1),
        (OSError("not ours"), 1),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "not ours"), 1),
    ],
)
def test_only_our_own_errors_become_a_line(
    crosscam, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr(recipes.Recipes, "run", fail)
    found, out, err = crosscam("recipes")
    assert (found, out) == (status, "")
    lines = err.strip().splitlines()
    if status == 2:
        assert len(lines) == 1
        assert lines[0].startswith("crosscam: ")
    else:
        assert lines[0] == "Traceback (most recent call last):"
        assert "not ours" in err
        assert lines[-1] == REPORT


@pytest.mark.parametrize("form", ["", "--json"])
@pytest.mark.parametrize(("output", "status"), [("| :; exit ${PIPESTATUS[0]}", 0), ("> /dev/full", 2)])
def test_files_are_written_whatever_becomes_of_the_output(place: Path, form: str, output: str, status: int) -> None:
    if "full" in output and not Path("/dev/full").exists():
        pytest.skip("no device that stands for a full disk")
    done = bash(f"cd {place} && CS evaluate run --data people --out s.json {form} {output}")
    assert done.returncode == status, done.stderr
    assert (place / "s.json").stat().st_size > 100
    assert "Traceback" not in done.stderr
    assert ("No space left" in done.stderr) == bool(status)
