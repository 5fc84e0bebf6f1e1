"""What the commands of ``crosscam gallery`` share: which gallery, which entries, how a result is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from crosscam.cli.options import General, Unset
from crosscam.cli.show import say, show_json
from crosscam.gallery.records import Where

Place = Annotated[Positional[str], arg(metavar="GALLERY")]


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """Which entries; all conditions must hold."""

    ids: Unset[tuple[int, ...]] = None
    """Entries by number."""
    pids: Unset[tuple[int, ...]] = None
    """Identities."""
    cameras: Unset[tuple[int, ...]] = None
    """Cameras."""
    tracks: Unset[tuple[str, ...]] = None
    """Tracks by name."""
    not_ids: Unset[tuple[int, ...]] = None
    """Not these entries."""
    not_pids: Unset[tuple[int, ...]] = None
    """Not these identities."""
    not_cameras: Unset[tuple[int, ...]] = None
    """Not these cameras."""
    time_from: Unset[float] = None
    """Not before this time, in seconds; entries without a time are left out."""
    time_to: Unset[float] = None
    """Not after this time; entries without a time are left out."""

    @property
    def where(self) -> Where:
        """The same for a gallery."""
        return Where(
            ids=self.ids,
            pids=self.pids,
            camids=self.cameras,
            tracks=self.tracks,
            not_ids=self.not_ids,
            not_pids=self.not_pids,
            not_camids=self.not_cameras,
            time_from=self.time_from,
            time_to=self.time_to,
        )


def tell(general: General, value: dict[str, Any], text: str) -> None:
    """Say what was done, as JSON where that was asked for."""
    if general.json:
        show_json(value)
    else:
        say(text)
