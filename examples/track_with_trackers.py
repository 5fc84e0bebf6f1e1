"""ByteTrack of Roboflow's trackers, which knows no appearance, with crosscam to join tracks: pip install trackers.

Its development version has trackers that ask for appearance themselves: BoTSORTTracker(reid_model=features).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import supervision as sv
from scene import frames, report
from trackers import ByteTrackTracker

from crosscam import TrackerFeatures

SAME = 0.8  # cosine similarity; 'crosscam calibrate' finds the threshold of your cameras

features = TrackerFeatures("rrid-mini")  # frames are BGR, as OpenCV gives them
tracker = ByteTrackTracker(lost_track_buffer=5, minimum_consecutive_frames=1)
person_of: dict[int, int] = {}  # the tracker's number -> ours
known: dict[int, np.ndarray] = {}  # our number -> the descriptor of the person

numbers: dict[str, set[int]] = defaultdict(set)
for frame, boxes, names in frames(hidden=20):
    tracked = tracker.update(sv.Detections(xyxy=boxes, confidence=np.full(len(boxes), 0.9, np.float32)))
    tracked = tracked[tracked.tracker_id >= 0]
    descriptors = features.extract_embeddings(tracked, frame)
    for box, track, descriptor in zip(tracked.xyxy, tracked.tracker_id, descriptors, strict=True):
        if track not in person_of:
            near = {person: float(descriptor @ row) for person, row in known.items()}
            best = max(near, key=near.__getitem__, default=None)
            person_of[track] = best if best is not None and near[best] > SAME else len(known) + 1
        known[person_of[track]] = descriptor
        name = names[int(np.abs(boxes - box).sum(axis=1).argmin())]
        numbers[name].add(person_of[track])
print(f"The tracker made {len(person_of)} tracks of {len(known)} people.")
report(numbers)
