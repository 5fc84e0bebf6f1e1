"""Calibration: which distance means the same person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.calibration.calibration import Calibration, Origin, Thresholds
    from crosscam.calibration.fitting import calibrate, check_calibration

__getattr__, __dir__ = lazily(
    __name__,
    {"calibration.calibration": "Calibration Origin Thresholds", "calibration.fitting": "calibrate check_calibration"},
)
__all__ = ["Calibration", "Origin", "Thresholds", "calibrate", "check_calibration"]
