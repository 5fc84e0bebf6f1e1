"""How a video is watched."""

from __future__ import annotations

from dataclasses import dataclass

from crosscam.errors import ArgumentError


@dataclass(frozen=True)
class WatchSettings:
    """What decides which crops of a video come into a gallery.

    Attributes:
        rate: frames a second that are looked at; None for all.
        tiles: (columns, rows) of overlapping tiles beside the whole frame; None for the whole frame alone.
        tracker: ``auto``, ``plain``, ``bytetrack`` or ``ocsort``.
        min_score: detections of a lower confidence are left out.
        min_height: pixels; people who are smaller are tracked, but not cropped.
        crops: most crops of one track.
        min_seen: frames; tracks that were seen in fewer are left out.
        longest: seconds after which a track is written and goes on as a new one, so that memory stays bounded.
    """

    rate: float | None = None
    tiles: tuple[int, int] | None = None
    tracker: str = "auto"
    min_score: float = 0.1
    min_height: int = 64
    crops: int = 4
    min_seen: int = 3
    longest: float = 300.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("rate", 0.01, 1000),
            ("min_score", 0, 1),
            ("min_height", 1, 10_000),
            ("crops", 1, 100),
            ("min_seen", 1, 1000),
            ("longest", 1, 86_400),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ArgumentError(f"{name.replace('_', '-')} must be from {low} to {high:,}, got {value}.")
