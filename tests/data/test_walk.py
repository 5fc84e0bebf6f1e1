from __future__ import annotations

import os
from pathlib import Path

import pytest

from crosscam.data.walk import find_files, list_images, subfolders
from crosscam.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root, "z/a.jpg", "z/deep/b.JPG", "z/notes.md")
    touch(tmp_path, "elsewhere/c.png")
    (root / "a_link_inside").symlink_to(root / "z", target_is_directory=True)
    (root / "elsewhere").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "elsewhere_again").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "z/loop").symlink_to(root, target_is_directory=True)
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "circle").symlink_to(root / "circle")
    found = find_files(root)
    assert [p.relative_to(root).as_posix() for p in found.images] == ["elsewhere/c.png", "z/a.jpg", "z/deep/b.JPG"]
    assert [p.name for p in found.others] == ["circle", "notes.md"]


def test_each_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/x.jpg", "b/x.jpg", "c/x.jpg")
    real = os.scandir

    def scandir(folder: Path) -> object:
        if folder.name in "bc":
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="2 folders") as caught:
        find_files(tmp_path)
    for name in ("b", "c"):
        assert f"{tmp_path / name} (Permission denied)" in str(caught.value)


def test_subfolders_once_each_by_their_own_names(tmp_path: Path) -> None:
    touch(tmp_path, "ann/a.jpg", "bob/a.jpg", ".hidden/a.jpg")
    (tmp_path / "aaa").symlink_to(tmp_path / "ann", target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path, target_is_directory=True)
    kept, again = subfolders(tmp_path)
    assert [p.name for p in kept] == ["ann", "bob"]
    assert [p.name for p in again] == ["aaa", "self"]


def test_a_link_in_a_circle_is_a_file_like_any_other(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    images, others = list_images(tmp_path)
    assert ([p.name for p in images], [p.name for p in others]) == (["a.jpg"], ["circle"])
