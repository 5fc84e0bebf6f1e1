"""Files that show people and that crosscam does not read as pictures: videos, and photographs in other formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

VIDEO, HEIC = "video", "HEIC photograph (iPhone)"
_KINDS = {
    VIDEO: (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts"),
    HEIC: (".heic", ".heif"),
    "AVIF photograph": (".avif",),
    "raw photograph": (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
}
_BY_SUFFIX = {suffix: kind for kind, suffixes in _KINDS.items() for suffix in suffixes}
# Brands of an ISO media file; all others are videos.
_BRANDS = {b"heic": HEIC, b"heix": HEIC, b"heim": HEIC, b"heis": HEIC, b"mif1": HEIC, b"msf1": HEIC, b"hevc": HEIC}
_BRANDS |= {b"avif": "AVIF photograph", b"avis": "AVIF photograph"}
HEAD = 16
_NEXT_STEP = {
    VIDEO: "detect the people in its frames and cut them out first; see Extractor.video in docs/extraction.md"
}
_CONVERT = "convert it to JPEG first, for example with ImageMagick: magick mogrify -format jpg FILE"


def foreign_kind(name: str, head: bytes = b"") -> str | None:
    """What a file is that crosscam does not read: by its first bytes, else by its name; None for anything else.

    A phone's HEIC photographs often come with the name of a JPEG file.
    """
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], VIDEO)
    if head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return VIDEO
    return _BY_SUFFIX.get(Path(name).suffix.lower())


def foreign_fault(name: str, kind: str) -> str:
    """One file that was given as a picture: what it is, and what to do."""
    article = "an" if kind.startswith("A") else "a"
    return f"{name} is {article} {kind}, which this command does not read: {_NEXT_STEP.get(kind, _CONVERT)}."


def tell_left_out(others: Sequence[Path], pictures: int) -> list[str]:
    """Sentences about the files of a folder that are no pictures; photographs and videos by what they are.

    Args:
        others: the files.
        pictures: how many files are pictures, for comparison.
    Returns:
        Sentences; those that begin with "warning: " are of files that show people.
    """
    by_kind: dict[str | None, list[Path]] = {}
    for path in others:
        kind = None if path.name.startswith(".") else foreign_kind(path.name)
        by_kind.setdefault(kind, []).append(path)
    told = []
    for kind, files in by_kind.items():
        if kind is None:
            continue
        few = len(files) == 1
        what = f"1 {kind} was" if few else f"{len(files):,} {_plural(kind)} were"
        told.append(
            f"warning: {what} left out, beside {pictures:,} pictures; first: {files[0]}. To use "
            f"{'it' if few else 'them'}: {_NEXT_STEP.get(kind, _CONVERT)}."
        )
    rest = by_kind.get(None, [])
    if rest:
        told.append(f"{len(rest):,} files are no pictures by their names and were left out. First: {rest[0]}.")
    return told


def _plural(kind: str) -> str:
    return "videos" if kind == VIDEO else kind.replace("photograph", "photographs")
