"""Datasets: people, cameras and files; reading, checking, splitting and drawing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.data.crops import crop_boxes, video_frames
    from crosscam.data.datasets.holdout import holdout
    from crosscam.data.datasets.hugging_face import from_hugging_face, to_hugging_face
    from crosscam.data.datasets.joining import join
    from crosscam.data.datasets.readers import read_dataset
    from crosscam.data.datasets.table import read_table, write_table
    from crosscam.data.datasets.unlabeled import read_images
    from crosscam.data.doctor import examine_dataset
    from crosscam.data.images import decode_image
    from crosscam.data.records import ReidDataset, Sample
    from crosscam.data.synthetic.dataset import contact_sheet, render_dataset

__getattr__, __dir__ = lazily(
    __name__,
    {
        "data.crops": "crop_boxes video_frames",
        "data.datasets.holdout": "holdout",
        "data.datasets.hugging_face": "from_hugging_face to_hugging_face",
        "data.datasets.joining": "join",
        "data.datasets.readers": "read_dataset",
        "data.datasets.table": "read_table write_table",
        "data.datasets.unlabeled": "read_images",
        "data.doctor": "examine_dataset",
        "data.images": "decode_image",
        "data.records": "ReidDataset Sample",
        "data.synthetic.dataset": "contact_sheet render_dataset",
    },
)
__all__ = [
    "ReidDataset",
    "Sample",
    "contact_sheet",
    "crop_boxes",
    "decode_image",
    "examine_dataset",
    "from_hugging_face",
    "holdout",
    "join",
    "read_dataset",
    "read_images",
    "read_table",
    "render_dataset",
    "to_hugging_face",
    "video_frames",
    "write_table",
]
