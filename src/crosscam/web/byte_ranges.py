"""Parts of an answer, as players of videos ask for them to jump in time (RFC 9110, section 14)."""

from __future__ import annotations

import hashlib
import re

from fastapi import Request, Response

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
# More digits than any length has; Python refuses to read very long numbers.
MOST_DIGITS = 18


def ranged(request: Request, content: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """The whole content (200), the part that was asked for (206), or that there is no such part (416).

    A request for several parts, or one that cannot be read, gets the whole; so does one for a part of a content that
    has changed since (``If-Range``).
    """
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    told = {**headers, "accept-ranges": "bytes", "etag": tag}
    part = _part(request.headers.get("range", ""), len(content))
    if part is None or request.headers.get("if-range", tag) != tag:
        return Response(content, media_type=media_type, headers=told)
    first, last = part
    if first > last:
        told["content-range"] = f"bytes */{len(content)}"
        return Response(status_code=416, headers=told)
    told["content-range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(content[first : last + 1], 206, media_type=media_type, headers=told)


def _part(asked: str, length: int) -> tuple[int, int] | None:
    """First and last byte; the first is larger where there is no such part. None for the whole."""
    found = _RANGE.fullmatch(asked)
    if found is None or not any(found.groups()) or max(map(len, found.groups())) > MOST_DIGITS:
        return None
    start, end = found.groups()
    if not start:  # so many of the end
        return (max(0, length - int(end)), length - 1) if int(end) and length else (1, 0)
    if end and int(end) < int(start):
        return None
    last = min(int(end or length), length - 1)
    return (int(start), last) if int(start) < length else (1, 0)
