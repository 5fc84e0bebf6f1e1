"""``crosscam gallery compact, info, verify, export, backup``: what looks after a gallery."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from crosscam.cli.gallery_options import Choosing, Place
from crosscam.cli.options import General
from crosscam.cli.show import print_plain, say, show_json, table
from crosscam.gallery.conditions import unknown_in
from crosscam.gallery.local import open_gallery
from crosscam.report.hits import when
from crosscam.system.files import check_file, check_folder
from crosscam.system.text import counted


@dataclass(frozen=True, kw_only=True)
class Compact:
    """Give the places of forgotten entries back to the disk."""

    gallery: Place
    general: General = field(default_factory=General)

    def run(self) -> None:
        with open_gallery(self.gallery, write=True) as gallery:
            freed = gallery.compact()
        self.general.tell({"bytes": freed}, f"{freed / 1e6:,.1f} MB given back.")


@dataclass(frozen=True, kw_only=True)
class Info:
    """Tell what a gallery holds."""

    gallery: Place
    general: General = field(default_factory=General)

    def run(self) -> None:
        with open_gallery(self.gallery) as gallery:
            found = gallery.info()
        if self.general.json:
            show_json(dataclasses.asdict(found) | {"dim": found.dim})
            return
        size = "unknown" if found.bytes is None else f"{found.bytes / 1e6:,.1f} MB"
        rows = [
            ("model", f"{found.model.name}, fingerprint {found.model.fingerprint}"),
            ("descriptor", f"{found.dim:,} numbers in {counted(len(found.layout), 'block')}"),
            ("entries", f"{found.entries:,}, and {found.wiped:,} wiped places that compact gives back"),
            ("people, tracks", f"{found.people:,}, {found.tracks:,}"),
            ("cameras", ", ".join(f"{found.camera_label(c)}: {count:,}" for c, count in found.cameras) or "none"),
            ("times", "none" if found.times is None else " to ".join(map(when, found.times))),
            ("added", "never" if found.added is None else " to ".join(map(when, found.added))),
            ("size", size),
        ]
        table(("", found.place), rows, numbers=False)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Read everything in a gallery and compare it with its checksums.

    The exit status is 1 if something is wrong.
    """

    gallery: Place
    general: General = field(default_factory=General)

    def run(self) -> None:
        with open_gallery(self.gallery) as gallery:
            found = gallery.verify()
        if self.general.json:
            show_json(dataclasses.asdict(found) | {"sound": found.sound})
        else:
            for problem in found.problems:
                print_plain(problem)
            print_plain(f"{counted(found.entries, 'entry')} read, {'all sound' if found.sound else 'not sound'}.")
        if not found.sound:
            sys.exit(1)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write entries and descriptors as a table for other programs."""

    gallery: Place
    out: Positional[Path]
    """The .parquet or .npz file to write."""
    choosing: Choosing = field(default_factory=Choosing)
    general: General = field(default_factory=General)

    def run(self) -> None:
        check_file(self.out)
        with open_gallery(self.gallery) as gallery:
            where = self.choosing.where(gallery)
            note = unknown_in(gallery, where)
            if note:
                say(f"note: {note}")
            count = gallery.export(self.out, where)
        self.general.tell({"out": str(self.out), "entries": count}, f"{counted(count, 'entry')} written to {self.out}.")


@dataclass(frozen=True, kw_only=True)
class Backup:
    """Copy a gallery as it stands.

    The copy is a gallery itself, and forgets nothing by itself.
    """

    gallery: Place
    out: Positional[Path]
    """Folder to make."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        check_folder(self.out)
        with open_gallery(self.gallery) as gallery:
            count = gallery.backup(self.out)
        self.general.tell({"out": str(self.out), "entries": count}, f"{counted(count, 'entry')} copied to {self.out}.")
