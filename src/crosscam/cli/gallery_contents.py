"""``crosscam gallery create, add, update, forget, expire``: what changes the entries."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from crosscam.cli.extract import find_pictures
from crosscam.cli.gallery_options import Choosing, Place, tell
from crosscam.cli.options import General, Reading, Unset, best_device
from crosscam.cli.show import bars, counting, say, show_json
from crosscam.data.records import JUNK_PID, ReidDataset, Sample
from crosscam.data.table import camids_by_rule
from crosscam.errors import CrosscamError
from crosscam.extraction import Extractor
from crosscam.gallery.filling import fill, identify_model, keep_people_apart, matching_extractor
from crosscam.gallery.places import create_gallery, open_gallery
from crosscam.gallery.records import KEEP
from crosscam.gallery.sources import remember_source


@dataclass(frozen=True, kw_only=True)
class Create:
    """Make an empty gallery for the descriptors of one model."""

    gallery: Place
    """Folder to make, or the address of a Milvus database: milvus://HOST:PORT/COLLECTION."""
    run_folder: Positional[Path]
    """Run folder with the trained network, or rrid-mini, which comes with crosscam."""
    no_flip: bool = False
    """Leave mirror images out: half the work for somewhat worse descriptors."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Make it."""
        extractor = Extractor.load(self.run_folder, flip=not self.no_flip)
        model = identify_model(self.run_folder, extractor)
        with create_gallery(self.gallery, extractor.layout, model) as made:
            remember_source(made, self.run_folder)
        if self.general.json:
            show_json({"gallery": self.gallery, "model": dataclasses.asdict(model), "dim": extractor.dim})
        else:
            say(f"{self.gallery} is ready for descriptors of {model.name} (fingerprint {model.fingerprint}).")


@dataclass(frozen=True, kw_only=True)
class Add:
    """Describe pictures and add them to a gallery.

    Pictures that the gallery has are left alone, so that a second call goes on.
    """

    gallery: Place
    """The gallery."""
    run_folder: Positional[Path]
    """Run folder of the gallery's model."""
    path: Positional[Path]
    """Folder or table of a data set; with --unlabelled, a picture or a folder of pictures."""
    subset: Literal["train", "query", "gallery", "all"] = "gallery"
    """Which subset of the data set."""
    unlabelled: bool = False
    """Nobody knows who is on the pictures; --camids tells the cameras."""
    no_thumbnails: bool = False
    """Keep no small copies of the pictures."""
    skip_damaged: bool = False
    """Leave out pictures that cannot be read, and say which, instead of stopping there."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Read, describe, add."""
        dataset, samples = self._samples()
        with open_gallery(self.gallery, write=True) as gallery, bars(self.general.json) as progress:
            extractor = matching_extractor(gallery, self.run_folder, best_device())
            if dataset is not None:
                keep_people_apart(gallery, dataset, samples)
            added = fill(
                gallery,
                extractor,
                samples,
                labelled=not self.unlabelled,
                thumbnails=not self.no_thumbnails,
                skip_damaged=self.skip_damaged,
                progress=counting(progress, "adding"),
            )
            total = len(gallery)
        if added.changed:
            say(
                f"note: {len(added.changed):,} of the pictures that were there have changed on the disk since; the "
                "gallery keeps what it has. Forget and add them again if they show something else. First: "
                f"{added.changed[0]}."
            )
        for path, fault in added.damaged:
            say(f"left out: {path}: {fault}")
        if self.general.json:
            damaged = [{"path": str(path), "fault": fault} for path, fault in added.damaged]
            show_json({"added": len(added.ids), "known": added.known, "damaged": damaged, "entries": total})
        else:
            say(
                f"{len(added.ids):,} pictures added, {added.known:,} were there already, "
                f"{len(added.damaged):,} could not be read; {total:,} entries now."
            )

    def _samples(self) -> tuple[ReidDataset | None, list[Sample]]:
        """The pictures, and the data set that names who is on them."""
        if self.unlabelled:
            paths, others = find_pictures(self.path)
            notes: list[str] = []
            if others:
                notes.append(
                    f"{len(others):,} files are no pictures by their names and were left out. First: {others[0]}."
                )
            camids = camids_by_rule(paths, self.reading.camids, self.path, notes)
            for note in notes:
                say(f"note: {note}")
            return None, [Sample(path, 0, camid) for path, camid in zip(paths, camids, strict=True)]
        dataset = self.reading.read_and_note(self.path)
        subsets = dataset.subsets
        names = list(subsets) if self.subset == "all" else [self.subset]
        everyone = [s for name in names for s in subsets[name]]
        samples = [s for s in everyone if s.pid != JUNK_PID]
        if len(samples) < len(everyone):
            say(f"note: {len(everyone) - len(samples):,} junk images (pid -1) show nobody and were left out.")
        if not samples:
            sizes = ", ".join(f"{name} {len(found):,}" for name, found in subsets.items())
            raise CrosscamError(f"{self.path} has no {self.subset} pictures ({sizes}). Choose with --subset.")
        return dataset, samples


@dataclass(frozen=True, kw_only=True)
class Update:
    """Give entries another identity, camera, time or track."""

    gallery: Place
    """The gallery."""
    ids: tuple[int, ...]
    """Entries by number."""
    pid: Unset[int] = None
    """The new identity."""
    camera: Unset[int] = None
    """The new camera."""
    time: Unset[float] = None
    """The new time, in seconds."""
    track: Unset[str] = None
    """The new track."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Change and count."""
        if all(value is None for value in (self.pid, self.camera, self.time, self.track)):
            raise CrosscamError("Nothing to change. Give --pid, --camera, --time or --track.")
        with open_gallery(self.gallery, write=True) as gallery:
            count = gallery.update(
                self.ids,
                pid=KEEP if self.pid is None else self.pid,
                camid=KEEP if self.camera is None else self.camera,
                time=KEEP if self.time is None else self.time,
                track=KEEP if self.track is None else self.track,
            )
        tell(self.general, {"updated": count}, f"{count:,} entries changed.")


@dataclass(frozen=True, kw_only=True)
class Forget:
    """Remove entries for good.

    No byte of their descriptors and thumbnails stays in the gallery's folder.
    """

    gallery: Place
    """The gallery."""
    choosing: Choosing = field(default_factory=Choosing)
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Forget and count."""
        with open_gallery(self.gallery, write=True) as gallery:
            count = gallery.forget(self.choosing.where)
            left = len(gallery)
        tell(self.general, {"forgotten": count, "entries": left}, f"{count:,} entries forgotten; {left:,} are left.")


@dataclass(frozen=True, kw_only=True)
class Expire:
    """Forget what is older than a time span."""

    gallery: Place
    """The gallery."""
    keep: str
    """How long entries are kept: a number and s, m, h, d or w, such as 30d."""
    by: Literal["added", "time"] = "added"
    """What the age counts from: when the entry came in, or its own time in seconds of the Unix epoch."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Forget and count."""
        with open_gallery(self.gallery, write=True) as gallery:
            count = gallery.expire(self.keep, by=self.by)
            left = len(gallery)
        tell(self.general, {"forgotten": count, "entries": left}, f"{count:,} entries forgotten; {left:,} are left.")
