"""What the commands of ``crosscam gallery`` share: which gallery, which entries, how a result is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from crosscam.cli.options import Unset
from crosscam.errors import GalleryError
from crosscam.gallery.camera_names import camid_of
from crosscam.gallery.entries import ModelIdentity, Where
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import create_gallery
from crosscam.gallery.source_network import identify_model, matching_extractor, recorded_extractor, remember_source
from crosscam.inference.extractor import Extractor
from crosscam.system.cores import best_device
from crosscam.system.text import read_time

Place = Annotated[Positional[str], arg(metavar="GALLERY", help="The gallery.")]
Time = Annotated[str | None, arg(metavar="TIME", help_behavior_hint="")]
Names = Annotated[tuple[str, ...] | None, arg(metavar="CAMERA ...", help_behavior_hint="")]


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """Which entries; all conditions must hold."""

    ids: Unset[tuple[int, ...]] = None
    """Entries by number."""
    pids: Unset[tuple[int, ...]] = None
    """Identities."""
    cameras: Names = None
    """Cameras by name or number."""
    tracks: Unset[tuple[str, ...]] = None
    """Tracks by name."""
    not_ids: Unset[tuple[int, ...]] = None
    """Not these entries."""
    not_pids: Unset[tuple[int, ...]] = None
    """Not these identities."""
    not_cameras: Names = None
    """Not these cameras."""
    time_from: Time = None
    """Not before this time: a date such as 2026-11-24 or '2026-11-24 08:30' (UTC), how long ago, such as 2h or 7d, or
    seconds; entries without a time are left out."""
    time_to: Time = None
    """Not after this time, a date alone with that whole day; entries without a time are left out."""

    def where(self, gallery: Gallery) -> Where:
        """The same for a gallery, which knows its cameras' names."""
        names = gallery.camera_names() if self.cameras or self.not_cameras else {}
        return Where(
            ids=self.ids,
            pids=self.pids,
            camids=_camids(names, self.cameras),
            tracks=self.tracks,
            not_ids=self.not_ids,
            not_pids=self.not_pids,
            not_camids=_camids(names, self.not_cameras),
            time_from=None if self.time_from is None else read_time(self.time_from, "--time-from"),
            time_to=None if self.time_to is None else read_time(self.time_to, "--time-to", end=True),
        )


def _camids(names: Mapping[int, str], wanted: tuple[str, ...] | None) -> tuple[int, ...] | None:
    return None if wanted is None else tuple(camid_of(names, camera) for camera in wanted)


def new_gallery(
    place: str, network: Path, *, flip: bool | None = None, device: str = "cpu"
) -> tuple[ModelIdentity, Extractor]:
    """Make an empty gallery for a network's descriptors, and keep with it where the network is."""
    extractor = Extractor.load(network, flip=flip, device=device)
    model = identify_model(network, extractor)
    with create_gallery(place, extractor.layout, model) as made:
        remember_source(made, network)
    return model, extractor


def extractor_of(gallery: Gallery, place: str, given: Sequence[Path]) -> Extractor:
    """The gallery's network, from the run folder that was given, or from where it was when the gallery was made."""
    if given:
        return matching_extractor(gallery, given[0], best_device())
    extractor, why = recorded_extractor(gallery, place, best_device())
    if extractor is None:
        raise GalleryError(f"{place} needs its network, and {why}. Give the run folder, before the images.")
    return extractor
