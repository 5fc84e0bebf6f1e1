"""The searchable store of descriptors, with cameras, times and tracks.

>>> from crosscam.gallery import Where, create_gallery, open_gallery
>>> gallery = open_gallery("people.gallery")  # doctest: +SKIP
>>> gallery.search(descriptors, k=5, model=gallery.model.fingerprint, where=Where(camids=(2,)))  # doctest: +SKIP
"""

from __future__ import annotations

from crosscam.gallery.entries import (
    KEEP,
    Entry,
    GalleryInfo,
    Hit,
    ModelIdentity,
    NewEntry,
    Verified,
    Where,
    unit_mean,
)
from crosscam.gallery.found import Hits, SearchResult
from crosscam.gallery.interface import Gallery
from crosscam.gallery.journeys import Journeys, read_journeys
from crosscam.gallery.judging import LinkOptions
from crosscam.gallery.link_runs import link_gallery
from crosscam.gallery.local import create_gallery, open_gallery
from crosscam.gallery.searching import SearchOptions
from crosscam.retrieval.contributions import PARTS, block_weights, parse_weights

__all__ = [
    "KEEP",
    "PARTS",
    "Entry",
    "Gallery",
    "GalleryInfo",
    "Hit",
    "Hits",
    "Journeys",
    "LinkOptions",
    "ModelIdentity",
    "NewEntry",
    "SearchOptions",
    "SearchResult",
    "Verified",
    "Where",
    "block_weights",
    "create_gallery",
    "link_gallery",
    "open_gallery",
    "parse_weights",
    "read_journeys",
    "unit_mean",
]
