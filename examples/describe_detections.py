"""supervision's Detections described, and who is who in the next frame: pip install supervision."""

from __future__ import annotations

import supervision as sv
from scene import frames

from crosscam import TrackerFeatures

features = TrackerFeatures("rrid-mini")  # frames are BGR, as OpenCV gives them
(first, boxes, names), *_, (last, later_boxes, _) = frames()
known = features.extract_embeddings(sv.Detections(xyxy=boxes), first)
# The detector gives the people of the last frame in another order.
found = features.extract_embeddings(sv.Detections(xyxy=later_boxes[::-1].copy()), last)
nearest = (found @ known.T).argmax(axis=1)
print("last frame:", ", ".join(names[place] for place in nearest))
