"""Descriptors of pictures: one extractor, many machines, exported files, trackers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam.system.lazy import lazily

if TYPE_CHECKING:
    from crosscam.inference.bulk import describe_stream
    from crosscam.inference.descriptor_tables import DescriptorFile, read_descriptors
    from crosscam.inference.exporting import export_model
    from crosscam.inference.extractor import Extractor, extract, load_model
    from crosscam.inference.tracker_features import TrackerFeatures

__getattr__, __dir__ = lazily(
    __name__,
    {
        "DescriptorFile": "inference.descriptor_tables",
        "Extractor": "inference.extractor",
        "TrackerFeatures": "inference.tracker_features",
        "describe_stream": "inference.bulk",
        "export_model": "inference.exporting",
        "extract": "inference.extractor",
        "load_model": "inference.extractor",
        "read_descriptors": "inference.descriptor_tables",
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
