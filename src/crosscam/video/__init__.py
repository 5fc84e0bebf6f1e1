"""From videos to a gallery: decode, detect people, track them, choose crops, describe and add them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.gallery.fragments import Fragment
    from crosscam.video.detections import Detections
    from crosscam.video.graphs import GraphDetector
    from crosscam.video.live import open_source
    from crosscam.video.opening import open_detector
    from crosscam.video.tracks import WatchSettings
    from crosscam.video.watching import Watched, watch

__getattr__, __dir__ = lazily(
    __name__,
    {
        "video.detections": "Detections",
        "gallery.fragments": "Fragment",
        "video.graphs": "GraphDetector",
        "video.live": "open_source",
        "video.opening": "open_detector",
        "video.tracks": "WatchSettings",
        "video.watching": "Watched watch",
    },
)
__all__ = [
    "Detections",
    "Fragment",
    "GraphDetector",
    "WatchSettings",
    "Watched",
    "open_detector",
    "open_source",
    "watch",
]
