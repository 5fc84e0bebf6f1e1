"""``crosscam import-authors``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from crosscam.cli.options import General
from crosscam.system.files import check_folder
from crosscam.system.text import counted
from crosscam.training.provenance import import_run


@dataclass(frozen=True, kw_only=True)
class ImportAuthors:
    """Turn a checkpoint of the authors' code into a run folder.

    Nothing in the file is run.
    """

    file: Positional[Path]
    """The authors' .pth file."""
    out: Positional[Path]
    """Run folder to write."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        check_folder(self.out)
        found = import_run(self.file, self.out)
        scales = ", ".join(map(str, found.scales))
        self.general.tell(
            {"out": str(self.out), "backbone": found.backbone, "scales": found.scales, "ids": found.num_ids},
            f"Imported RRID into {self.out}: backbone {found.backbone}, stripes {scales}, "
            f"{counted(found.num_ids, 'identity')}.",
        )
