"""How large and how complicated a picture may be, so that a small file never costs minutes or gigabytes.

All limits are read off the file before any pixel is decoded. They are far beyond any picture of a person.
"""

from __future__ import annotations

import re

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
    """Why a picture of this size is refused, to follow its name; None where it is not."""
    if max(width, height) > MAX_SIDE:
        return f"has {width:,} x {height:,} pixels. Expected sides of at most {MAX_SIDE:,}; crop the person out first."
    if max(width, height) > MAX_ASPECT * min(width, height):
        return (
            f"has {width:,} x {height:,} pixels: one side is more than {MAX_ASPECT} times as long as the other. "
            "Expected a picture of a person; crop it out first."
        )
    return None


def scans_fault(data: bytes) -> str | None:
    """Why a JPEG file is refused for its scans, to follow its name; None where it is not, and for other files.

    Each scan costs a pass over the whole picture and takes a few bytes; encoders write about ten.
    """
    # The quick count takes in what only looks like a scan, such as a preview within the picture's metadata.
    if not data.startswith(_START) or data.count(b"\xff\xda") <= MAX_SCANS or _scans(data) <= MAX_SCANS:
        return None
    return f"has more than {MAX_SCANS} scans, each a pass over the whole picture. Save it anew as an ordinary JPEG."


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
    """Scans of the first picture in a JPEG file, up to one too many."""
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
