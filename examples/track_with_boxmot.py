"""BoxMOT's trackers with crosscam's descriptors: pip install boxmot (AGPL-3.0; read its license before you use it)."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from boxmot import BotSort
from scene import frames, report

from crosscam import TrackerFeatures

features = TrackerFeatures("rrid-mini")  # frames are BGR, as OpenCV gives them
tracker = BotSort(reid_model=features, use_cmc=False)  # called as reid_model.get_features(xyxys, img)

numbers: dict[str, set[int]] = defaultdict(set)
for frame, boxes, names in frames():
    detections = np.hstack((boxes, np.full((len(boxes), 1), 0.9), np.zeros((len(boxes), 1))))
    for track in tracker.update(detections, frame):
        numbers[names[int(track[7])]].add(int(track[4]))
report(numbers)
