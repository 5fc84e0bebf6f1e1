"""Files that are whole or not there."""

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from crosscam.errors import DataError, StorageError
from crosscam.system.files import (
    cannot_write,
    clear_unfinished,
    folder_in_place,
    make_folder,
    write_atomically,
)


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_failed_write_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def write(temporary: Path) -> None:
        temporary.write_text("ne")
        full_disk()

    with pytest.raises(StorageError, match=r"file \(No space left on device\).*untouched\. Free some space"):
        write_atomically(path, write)
    with pytest.raises(DataError, match=r"untouched\. Call again\."):
        write_atomically(path, write, next_step="Call again.", error=DataError)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    write_atomically(path, "new")
    assert path.read_text() == "new"


def test_an_error_of_our_own_is_not_told_as_a_full_disk(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        write_atomically(tmp_path / "file", write)
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_are_on_the_disk_before_they_take_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("fsync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    write_atomically(tmp_path / "file", "x")
    assert done == ["fsync", "replace", "fsync"]


def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def no_folders(path: str, flags: int, *more: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", no_folders)  # as on Windows
    write_atomically(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_a_file_for_its_owner_alone_gets_the_mode_of_any_other(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))

    write_atomically(tmp_path / "file", write)
    (tmp_path / "other").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_writers_at_the_same_time_never_share_an_unfinished_file(tmp_path: Path) -> None:
    met, failures = threading.Barrier(2, timeout=20), []

    def write(text: str, temporary: Path) -> None:
        met.wait()
        temporary.write_text(text)
        met.wait()
        if temporary.read_text() != text:
            failures.append(text)

    threads = [
        threading.Thread(target=write_atomically, args=(tmp_path / "file", lambda p, t=text: write(t, p)))
        for text in ("one", "another")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (tmp_path / "file").read_text() in ("one", "another")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_leftovers_of_a_kill_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    left = [tmp_path / "file.0123456789ab.tmp", tmp_path / "folder.0123456789ab.tmp"]
    left[0].write_text("half")
    left[1].mkdir()
    for name in ("file", "file.tmp", "file2.0123456789ab.tmp", "x.12-3.tmp"):
        (tmp_path / name).write_text("mine")
    clear_unfinished(tmp_path / "file")
    clear_unfinished(tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "file.tmp", "file2.0123456789ab.tmp", "x.12-3.tmp"]
    clear_unfinished(tmp_path, folder=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "file.tmp", "x.12-3.tmp"]


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    def fill_half() -> None:
        with folder_in_place(tmp_path / "a" / "folder") as unfinished:
            (unfinished / "half").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fill_half()
    assert list((tmp_path / "a").iterdir()) == []
    (tmp_path / "a" / "folder").mkdir()
    with folder_in_place(tmp_path / "a" / "folder") as unfinished:
        (unfinished / "whole").touch()
        assert not (tmp_path / "a" / "folder" / "whole").exists()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["folder"]
    assert (tmp_path / "a" / "folder" / "whole").is_file()
    with (
        pytest.raises(DataError, match=r"Cannot write .*folder \(Directory not empty\)"),
        folder_in_place(tmp_path / "a" / "folder", error=DataError),
    ):
        pass


def test_the_systems_own_error_is_told() -> None:
    def close_the_archive() -> None:
        try:
            full_disk()
        finally:
            raise RuntimeError("unexpected pos 768 vs 662\nand more")

    with pytest.raises(RuntimeError) as caught:
        close_the_archive()
    assert "(No space left on device)" in str(cannot_write(Path("state.pt"), caught.value))
    assert "(two lines)" in str(cannot_write(Path("state.pt"), RuntimeError("two\nlines")))


def test_folders_are_made_at_any_depth_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    deep = Path("d", *("d" * 1500))
    make_folder(deep)
    make_folder(deep)
    assert deep.is_dir()
    too_long = Path("e", *("e" * 3000))
    with pytest.raises(OSError, match="too long"):
        make_folder(too_long)
    assert not Path("e").exists()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        make_folder(tmp_path / "file" / "folder")
    # pytest's own clearing of old folders goes down by recursion.
    subprocess.run(["rm", "-rf", "d"], cwd=tmp_path, check=True)
