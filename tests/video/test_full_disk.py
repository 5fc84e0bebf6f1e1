"""A full disk, or a cache folder that cannot be written, is one line that names the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam.errors import DataError, StorageError
from crosscam.video.detections import as_detections
from crosscam.video.journal import Journal
from crosscam.video.tracks import Exported

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="a disk that is always full is a file of Linux")


def test_the_journal_names_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path))
    journal = Journal("name")
    journal.__enter__()
    assert journal._file is not None
    journal._file.close()
    journal._file = FULL.open("a", encoding="ascii")
    journal.write(0, as_detections(np.array([[10, 10, 50, 90]])))
    with pytest.raises(StorageError, match=r"watch/name\.jsonl \(No space left.*set CROSSCAM_CACHE"):
        journal.__exit__()
    monkeypatch.setenv("CROSSCAM_CACHE", "/dev/null")
    with pytest.raises(StorageError, match="Cannot write /dev/null/watch/name"):
        Journal("name").__enter__()


def test_the_folder_of_crops_is_named(tmp_path: Path) -> None:
    exported = Exported(tmp_path / "out")
    exported._files.enter_context(FULL.open("w")).write("1,1\n")
    with pytest.raises(DataError, match=r"out cannot be written \(No space left on device\)\. Free some space"):
        exported.close()
