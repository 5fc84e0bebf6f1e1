"""BoT-SORT of Roboflow's trackers with crosscam's descriptors: pip install trackers."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import supervision as sv
from scene import frames, report
from trackers import BoTSORTTracker

from crosscam import TrackerFeatures

features = TrackerFeatures("rrid-mini")  # frames are BGR, as OpenCV gives them
tracker = BoTSORTTracker(reid_model=features, enable_cmc=False)

numbers: dict[str, set[int]] = defaultdict(set)
for frame, boxes, names in frames():
    detections = sv.Detections(xyxy=boxes, confidence=np.full(len(boxes), 0.9, np.float32))
    tracked = tracker.update(detections, frame=frame)
    for name, box in zip(names, boxes, strict=True):
        for found, number in zip(tracked.xyxy, tracked.tracker_id, strict=True):
            if number >= 0 and np.allclose(found, box):
                numbers[name].add(int(number))
report(numbers)
