"""From videos to a gallery: decode, detect people, track them, choose crops, describe and add them."""

from crosscam.video.detections import Detections, Detector
from crosscam.video.fragments import Fragment
from crosscam.video.watch_settings import WatchSettings
from crosscam.video.watching import Watched, watch

__all__ = ["Detections", "Detector", "Fragment", "WatchSettings", "Watched", "watch"]
