"""Data sets: people, cameras and files; reading, checking, splitting and drawing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system.lazy import lazily

if TYPE_CHECKING:
    from crosscam.data.crops import crop_boxes, video_frames
    from crosscam.data.datasets.holdout import holdout
    from crosscam.data.datasets.joining import join
    from crosscam.data.datasets.readers import read_dataset
    from crosscam.data.datasets.table import read_table, write_table
    from crosscam.data.doctor import examine_dataset
    from crosscam.data.images import decode_image
    from crosscam.data.records import ReidDataset, Sample
    from crosscam.data.synthetic.dataset import contact_sheet, render_dataset

__getattr__, __dir__ = lazily(
    __name__,
    {
        "ReidDataset": "data.records",
        "Sample": "data.records",
        "contact_sheet": "data.synthetic.dataset",
        "crop_boxes": "data.crops",
        "decode_image": "data.images",
        "examine_dataset": "data.doctor",
        "holdout": "data.datasets.holdout",
        "join": "data.datasets.joining",
        "read_dataset": "data.datasets.readers",
        "read_table": "data.datasets.table",
        "render_dataset": "data.synthetic.dataset",
        "video_frames": "data.crops",
        "write_table": "data.datasets.table",
    },
)
__all__ = [
    "ReidDataset",
    "Sample",
    "contact_sheet",
    "crop_boxes",
    "decode_image",
    "examine_dataset",
    "holdout",
    "join",
    "read_dataset",
    "read_table",
    "render_dataset",
    "video_frames",
    "write_table",
]
