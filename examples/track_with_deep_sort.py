"""deep-sort-realtime with crosscam as its embedder: pip install deep-sort-realtime opencv-python."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from deep_sort_realtime.deepsort_tracker import DeepSort
from scene import frames, report

from crosscam import TrackerFeatures

tracker = DeepSort(embedder=None, n_init=2, max_cosine_distance=0.3)
tracker.embedder = TrackerFeatures("rrid-mini")  # called as embedder.predict(crops), which are BGR

numbers: dict[str, set[int]] = defaultdict(set)
for frame, boxes, names in frames():
    detections = [((x1, y1, x2 - x1, y2 - y1), 0.9, name) for (x1, y1, x2, y2), name in zip(boxes, names, strict=True)]
    for track in tracker.update_tracks(detections, frame=frame):
        found = track.to_ltrb(orig=True, orig_strict=True)
        if track.is_confirmed() and found is not None:
            for name, box in zip(names, boxes, strict=True):
                if np.allclose(found, box, atol=1):
                    numbers[name].add(int(track.track_id))
report(numbers)
