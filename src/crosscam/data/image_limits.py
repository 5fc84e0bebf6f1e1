"""How large and how complicated an image may be, so that a small file never costs minutes or gigabytes; other formats.

All limits are read off the file before any pixel is decoded. They are far beyond any image of a person.
Videos and photographs in formats that are not read, such as HEIC, are told by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from crosscam.system.text import counted

MAX_SIDE = 16_384
MAX_ASPECT = 100
MAX_SCANS = 64
MAX_SEGMENTS = 2_000
FREE_CHUNKS = 1_000
"""Chunks that any PNG file may have; of more, each must stand for a thousand bytes of the file."""

_PNG = b"\x89PNG\r\n\x1a\n"
_START, _END, _SCAN = b"\xff\xd8", 0xD9, 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# Within the data of a scan, 0xFF is followed by a zero, by a restart marker, or by the marker that ends it.
_NEXT = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def size_fault(width: int, height: int) -> str | None:
    """Why an image of this size is refused, to follow its name; None where it is not."""
    if max(width, height) > MAX_SIDE:
        return f"has {width:,} x {height:,} pixels. Expected sides of at most {MAX_SIDE:,}; crop the person out first."
    if max(width, height) > MAX_ASPECT * min(width, height):
        return (
            f"has {width:,} x {height:,} pixels: one side is more than {MAX_ASPECT} times as long as the other. "
            "Expected an image of a person; crop it out first."
        )
    return None


def scans_fault(data: bytes) -> str | None:
    """Why a JPEG file is refused for its scans, to follow its name; None where it is not, and for other files.

    Each scan costs a pass over the whole image and takes a few bytes; encoders write about ten.
    """
    # The quick count takes in what only looks like a scan, such as a preview within the image's metadata.
    if not data.startswith(_START) or data.count(b"\xff\xda") <= MAX_SCANS or _scans(data) <= MAX_SCANS:
        return None
    return f"has more than {MAX_SCANS} scans, each a pass over the whole image. Save it anew as an ordinary JPEG."


def chunks_fault(data: bytes) -> str | None:
    """Why a PNG file is refused for its chunks, to follow its name; None where it is not, and for other files.

    Chunks are read one by one, a million in a quarter of a minute; encoders write one for some kilobytes of pixels.
    """
    if not data.startswith(_PNG):
        return None
    most, count, place = FREE_CHUNKS + len(data) // 1000, 0, len(_PNG)
    while place < len(data) and count <= most:
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        count += 1
    return f"has more than {most:,} chunks. Save it anew as an ordinary PNG." if count > most else None


def segments_fault(data: bytes) -> str | None:
    """Why a JPEG file is refused for what stands before its pixels, to follow its name; None where it is not."""
    if not data.startswith(_START):
        return None
    place = 2
    for _ in range(MAX_SEGMENTS):
        found = _NEXT.search(data, place)
        if found is None or found[1][0] in (_SCAN, _END):
            return None
        place = found.end()
        if found[1][0] not in _ALONE:
            place += max(2, int.from_bytes(data[place : place + 2], "big"))
    return f"has more than {MAX_SEGMENTS:,} segments before its pixels. Save it anew as an ordinary JPEG."


def _scans(data: bytes) -> int:
    """Scans of the first image in a JPEG file, up to one too many."""
    count, place = 0, 2
    while count <= MAX_SCANS and (found := _NEXT.search(data, place)) is not None:
        marker, place = found[1][0], found.end()
        if marker == _END:
            break
        if marker in _ALONE:
            continue
        count += marker == _SCAN
        place += max(2, int.from_bytes(data[place : place + 2], "big"))
    return count


VIDEO, HEIC = "video", "HEIC photograph (iPhone)"
SHEET, PACKED = "spreadsheet", "packed file"
_KINDS = {
    VIDEO: (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts", ".m2ts"),
    HEIC: (".heic", ".heif"),
    "AVIF photograph": (".avif",),
    "raw photograph": (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
    SHEET: (".xlsx", ".xls", ".ods", ".numbers"),
    PACKED: (".gz", ".zip"),
}
_BY_SUFFIX = {suffix: kind for kind, suffixes in _KINDS.items() for suffix in suffixes}
# Brands of an ISO media file; all others are videos.
_BRANDS = {b"heic": HEIC, b"heix": HEIC, b"heim": HEIC, b"heis": HEIC, b"mif1": HEIC, b"msf1": HEIC, b"hevc": HEIC}
_BRANDS |= {b"avif": "AVIF photograph", b"avis": "AVIF photograph"}
HEAD = 16
_NEXT_STEP = {
    VIDEO: "'crosscam watch' finds the people in its frames and cuts them out; see docs/video.md",
    SHEET: "save it as CSV (UTF-8), one row for each image",
    PACKED: "unpack it first",
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
    """One file that was given as an image: what it is, and what to do."""
    article = "an" if kind.startswith("A") else "a"
    return f"{name} is {article} {kind}, which this command does not read: {_NEXT_STEP.get(kind, _CONVERT)}."


def tell_left_out(others: Sequence[Path], images: int) -> list[str]:
    """Sentences about the files of a folder that are not images; photographs and videos by what they are.

    Args:
        others: the files.
        images: how many files are images, for comparison.
    Returns:
        Sentences; those that begin with "warning: " are of files that show people.
    """
    by_kind: dict[str | None, list[Path]] = {}
    for path in others:
        kind = None if path.name.startswith(".") else foreign_kind(path.name)
        by_kind.setdefault(None if kind in (SHEET, PACKED) else kind, []).append(path)
    told = []
    for kind, files in by_kind.items():
        if kind is None:
            continue
        few = len(files) == 1
        several = "videos" if kind == VIDEO else kind.replace("photograph", "photographs")
        what = f"1 {kind} was" if few else f"{len(files):,} {several} were"
        told.append(
            f"warning: {what} left out, beside {counted(images, 'image')}; first: {files[0]}. To use "
            f"{'it' if few else 'them'}: {_NEXT_STEP.get(kind, _CONVERT)}."
        )
    rest = by_kind.get(None, [])
    if rest:
        told.append(f"Left out: {counted(len(rest), 'file')} without an image's name; first: {rest[0]}.")
    return told
