"""Calibration: which distance means the same person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system.lazy import lazily

if TYPE_CHECKING:
    from crosscam.calibration.calibration import Calibration, Origin, Thresholds
    from crosscam.calibration.fitting import calibrate, check_calibration

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Calibration": "calibration.calibration",
        "Origin": "calibration.calibration",
        "Thresholds": "calibration.calibration",
        "calibrate": "calibration.fitting",
        "check_calibration": "calibration.fitting",
    },
)
__all__ = [
    "Calibration",
    "Origin",
    "Thresholds",
    "calibrate",
    "check_calibration",
]
