"""Descriptors of images: one extractor, many machines, exported files, trackers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system import lazily

if TYPE_CHECKING:
    from crosscam.inference.bulk import describe_stream
    from crosscam.inference.describing import extract, load_model
    from crosscam.inference.descriptor_tables import DescriptorFile, read_descriptors
    from crosscam.inference.exporting import export_model
    from crosscam.inference.extractor import Extractor
    from crosscam.inference.tracker_features import TrackerFeatures

__getattr__, __dir__ = lazily(
    __name__,
    {
        "inference.bulk": "describe_stream",
        "inference.descriptor_tables": "DescriptorFile read_descriptors",
        "inference.exporting": "export_model",
        "inference.describing": "extract load_model",
        "inference.extractor": "Extractor",
        "inference.tracker_features": "TrackerFeatures",
    },
)
__all__ = [
    "DescriptorFile",
    "Extractor",
    "TrackerFeatures",
    "describe_stream",
    "export_model",
    "extract",
    "load_model",
    "read_descriptors",
]
