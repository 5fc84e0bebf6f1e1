"""One writer at a time, with and without the system's own locks."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crosscam.errors import BusyError, StorageError
from crosscam.system.locks import FOLDER_LOCK, Lock, held, only_writer

WITHOUT_FCNTL = "import sys; sys.modules['fcntl'] = None\n"

HOLD = """
import sys
import threading
from pathlib import Path
from crosscam.system.locks import only_writer
with only_writer(Path(sys.argv[1]), folder=sys.argv[2] == "folder"):
    print("held", flush=True)
    sys.stdin.read()
"""


def other(place: Path, kind: str, before: str = "") -> subprocess.Popen[str]:
    """Another process that holds a place until its input ends."""
    command = [sys.executable, "-c", before + HOLD, str(place), kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_second_writer_is_told_who_is_first(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "new" / "place"
    process = other(place, kind)
    expected = rf"place is being written by process {process.pid} on .+\. Wait until it is done, or choose another"
    with pytest.raises(BusyError, match=expected), only_writer(place, folder=kind == "folder"):
        raise AssertionError
    process.communicate("")
    with only_writer(place, folder=kind == "folder"):
        pass
    left = [p.name for p in tmp_path.rglob("*") if not p.is_dir()]
    assert left == []


def test_a_killed_holder_holds_nothing_and_its_leftovers_go(tmp_path: Path) -> None:
    process = other(tmp_path, "folder")
    (tmp_path / "state.pt.0123456789ab.tmp").write_text("half")
    process.kill()
    process.communicate()
    assert (tmp_path / FOLDER_LOCK).exists()
    with only_writer(tmp_path, folder=True):
        assert [p.name for p in tmp_path.iterdir()] == [FOLDER_LOCK]
    assert list(tmp_path.iterdir()) == []


def test_two_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.take()
    assert not second.take()
    assert second.holder().startswith(f"process {os.getpid()} on ")
    first.release()
    assert second.take()
    second.release()
    assert second.holder() == "another process"
    with held(tmp_path / "lock", wait=False) as mine, held(tmp_path / "lock", wait=False) as theirs:
        assert (mine, theirs) == (True, False)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Cannot write .*place"), only_writer(tmp_path / "file" / "place"):
        raise AssertionError


def test_without_fcntl_there_is_still_one_writer(tmp_path: Path) -> None:
    first = other(tmp_path / "out.npz", "file", WITHOUT_FCNTL)
    command = [sys.executable, "-c", WITHOUT_FCNTL + HOLD, str(tmp_path / "out.npz"), "file"]
    second = subprocess.run(command, capture_output=True, text=True, input="")
    assert second.returncode != 0
    assert "out.npz is being written by another process" in second.stderr
    first.communicate("")
    again = subprocess.run(command, capture_output=True, text=True, input="")
    assert (again.stdout, again.returncode) == ("held\n", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_block_within_a_block_of_the_same_place(tmp_path: Path) -> None:
    with only_writer(tmp_path / "run", folder=True):
        with only_writer(tmp_path / "run", folder=True):
            assert (tmp_path / "run" / FOLDER_LOCK).exists()
        assert (tmp_path / "run" / FOLDER_LOCK).exists()
        refused: list[str] = []

        def somebody_else() -> None:
            try:
                with only_writer(tmp_path / "run", folder=True):
                    refused.append("no")
            except BusyError as error:
                refused.append(str(error))

        thread = threading.Thread(target=somebody_else)
        thread.start()
        thread.join()
        assert "is being written by process" in refused[0]
    assert not (tmp_path / "run" / FOLDER_LOCK).exists()


def test_the_working_folder_is_a_place_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder in (False, True):
        with only_writer(Path("."), folder=folder):
            assert list(tmp_path.rglob("*.lock"))
        assert not list(tmp_path.rglob("*.lock"))
