"""A gallery by its place: a folder on this machine, or a Milvus database by its address."""

from __future__ import annotations

import os
from pathlib import Path

from crosscam.gallery.entries import ModelIdentity
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import LocalGallery
from crosscam.models.output import Layout

Place = str | os.PathLike[str]
SCHEMES = ("milvus://", "milvus+lite://", "http://", "https://")


def create_gallery(place: Place, layout: Layout, model: ModelIdentity) -> Gallery:
    """A new, empty gallery, opened for writing.

    Args:
        place: a folder that is empty or missing; or ``milvus://host:port/collection``, ``https://...`` or
            ``milvus+lite://FILE.db``.
        layout: the named blocks of the descriptors to come.
        model: what makes them.
    Raises:
        GalleryError: the place is taken or cannot be written.
        ValueError: a layout whose blocks do not cover the descriptor once.
    """
    if is_address(place):
        from crosscam.gallery.milvus import MilvusGallery

        return MilvusGallery.create(str(place), layout, model)
    return LocalGallery.create(Path(place), layout, model)


def open_gallery(place: Place, *, write: bool = False) -> Gallery:
    """An existing gallery.

    Args:
        place: as for :func:`create_gallery`.
        write: take the place of the one writer.
    Raises:
        GalleryBusyError: somebody else is writing it.
        GalleryError: there is none, or it is damaged or of a later version.
    """
    if is_address(place):
        from crosscam.gallery.milvus import MilvusGallery

        return MilvusGallery.open(str(place), write=write)
    return LocalGallery.open(Path(place), write=write)


def is_address(place: Place) -> bool:
    """Whether the place is a database's address."""
    return isinstance(place, str) and place.startswith(SCHEMES)
