from __future__ import annotations

import os
from pathlib import Path

import pytest

from crosscam.errors import DataError
from crosscam.system.files import check_file, check_folder


def test_what_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    for place in (tmp_path / "new.json", tmp_path / "a/b/new.json", tmp_path / "old.json", None):
        check_file(place)
    for place in (tmp_path, tmp_path / "a/b", None):
        check_folder(place)
    assert [p.name for p in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "is a folder"),
        ("file/x.json", "cannot be written: Not a directory"),
        ("file/deep/er/x.json", "cannot be written: Not a directory"),
        ("x" * 300, "cannot be written: File name too long"),
        ("x" * 250, "cannot be written: File name too long"),
        ("pipe", "is a device or a pipe"),
    ],
)
def test_files_that_cannot_be_written(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=message) as caught:
        check_file(tmp_path / place)
    assert "\n" not in str(caught.value)


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/run"):
        with pytest.raises(DataError, match="cannot be written: Not a directory"):
            check_folder(tmp_path / place)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("builtins.open", refuse)
    for check in (check_file, check_folder):
        with pytest.raises(DataError, match=r"Read-only file system\. Nothing was done"):
            check(tmp_path / "run")
