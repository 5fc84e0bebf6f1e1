"""Standard output and error on every terminal: any encoding, closed, or closed early by ``| head``."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata

_PLAIN = {
    "─": "-", "━": "-", "═": "-", "╌": "-", "│": "|", "┃": "|", "║": "|",
    "·": "-", "•": "*", "…": "...", "–": "-", "—": "-", "×": "x", "−": "-", "≤": "<=", "≥": ">=", "→": "->",
    "‘": "'", "’": "'", "“": '"', "”": '"', "█": "#", "░": ".",
}  # fmt: skip
HANDLER = "crosscam.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that a stream cannot show."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_for(c) for c in error.object[error.start : error.end]), error.end


def _for(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if 0x2500 <= code <= 0x257F:
        return _PLAIN.get(character, "+")
    shown = _PLAIN.get(character) or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return shown or "?"


codecs.register_error(HANDLER, _plain)


def prepare_streams() -> None:
    """Make standard output and error take any text; where one is closed, what is written to it is dropped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)


_failures: list[OSError] = []


def drop_output(failure: OSError) -> None:
    """Drop what standard output does not take, and go on; a full disk is told at the end, a closed reader is not."""
    if not isinstance(failure, BrokenPipeError):
        _failures.append(failure)
    forget_output()


def flush_output() -> None:
    """Write what standard output still holds; OSError if it did not take all that was shown, since the disk is full."""
    try:
        sys.stdout.flush()
    except OSError as failure:
        drop_output(failure)
    if _failures:
        raise _failures.pop()


def forget_output() -> None:
    """Nobody reads standard output; the interpreter must not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
