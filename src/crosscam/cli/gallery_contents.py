"""``crosscam gallery create, add, update, forget, expire``: what changes the entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from crosscam.cli.gallery_options import Choosing, Place, Time, extractor_of, new_gallery
from crosscam.cli.options import General, Reading, Unset, tell_notes
from crosscam.cli.show import bars, counting, say
from crosscam.data.labels import read_label, same_spelling
from crosscam.data.records import JUNK_PID, ReidDataset, Sample
from crosscam.errors import CrosscamError
from crosscam.gallery.camera_names import camid_of, check_name
from crosscam.gallery.conditions import refuse_unknown, without_time
from crosscam.gallery.entries import KEEP
from crosscam.gallery.filling import Filled, fill
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import open_gallery, opened_for_writing, working_alone
from crosscam.gallery.numbering import keep_people_apart
from crosscam.gallery.store import PATIENCE
from crosscam.system.text import counted, read_time


@dataclass(frozen=True, kw_only=True)
class Create:
    """Make an empty gallery for the descriptors of one model."""

    gallery: Annotated[Positional[str], arg(metavar="GALLERY")]
    """Folder to make, or the address of a Milvus database: milvus://HOST:PORT/COLLECTION."""
    run_folder: Positional[Path]
    """Run folder with the trained network; rrid-mini, which comes with crosscam; or a network of import-network."""
    no_flip: bool = False
    """Leave mirror images out: half the work for somewhat worse descriptors."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        model, extractor = new_gallery(self.gallery, self.run_folder, flip=False if self.no_flip else None)
        self.general.tell(
            {"gallery": self.gallery, "model": dataclasses.asdict(model), "dim": extractor.dim},
            f"{self.gallery} is ready for descriptors of {model.name} (fingerprint {model.fingerprint}).",
        )


@dataclass(frozen=True, kw_only=True)
class Add:
    """Describe images and add them to a gallery.

    Images that the gallery has are left alone, so that a second call goes on.
    """

    gallery: Place
    sources: Annotated[Positional[tuple[Path, ...]], arg(metavar="[RUN-FOLDER] PATH", help_behavior_hint="")]
    """PATH is the folder or table of a dataset; or unlabeled images: one, a folder, perhaps with a folder
    for each camera, or a table without pid. RUN-FOLDER is the gallery's model, if it is not where it was
    when the gallery was made."""
    subset: Literal["train", "query", "gallery", "all"] = "gallery"
    """Which subset of the dataset."""
    unlabelled: bool = False
    """Treat the images as unlabeled, whatever their folders are called."""
    no_thumbnails: bool = False
    """Keep no small copies of the images."""
    skip_damaged: bool = False
    """Leave out images that cannot be read, and say which, instead of stopping there."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        if len(self.sources) not in (1, 2):
            raise CrosscamError(f"Expected the images to add, found {len(self.sources)} paths. Give one source a call.")
        dataset, samples = self._samples(self.sources[-1])
        with ExitStack() as stack:
            gallery = stack.enter_context(open_gallery(self.gallery))
            # Two sources that are added at once could give one number to two people.
            stack.enter_context(working_alone(gallery, "add", f"{self.gallery} is being added to", wait=PATIENCE))
            extractor = extractor_of(gallery, self.gallery, self.sources[:-1])
            if dataset is not None:
                with opened_for_writing(gallery) as writer:
                    keep_people_apart(writer, dataset, samples)
            added = fill(
                gallery,
                extractor,
                samples,
                labeled=dataset is not None,
                thumbnails=not self.no_thumbnails,
                skip_damaged=self.skip_damaged,
                keep_apart=not self._camera_is_stated(),
                progress=counting(stack.enter_context(bars(self.general.json)), "adding"),
            )
            total = len(gallery)
        _tell_kept(added)
        for _, fault in added.damaged:
            say(f"left out: {fault}")
        damaged = [{"path": str(path), "fault": fault} for path, fault in added.damaged]
        self.general.tell(
            {"added": len(added.ids), "known": added.known, "damaged": damaged, "entries": total},
            f"{counted(len(added.ids), 'image')} added, {added.known:,} there already, "
            f"{len(damaged):,} could not be read; {counted(total, 'entry')} now.",
        )

    def _camera_is_stated(self) -> bool:
        """Whether the user gave a camera's number for this gallery."""
        rule = self.reading.camids
        return self.reading.camera is not None or (rule is not None and rule.strip().lstrip("+-").isdecimal())

    def _samples(self, path: Path) -> tuple[ReidDataset | None, list[Sample]]:
        """The images, and the dataset that names who is on them."""
        if self.unlabelled or self.reading.is_unlabeled(path):
            return None, self._unlabelled(path)
        dataset = self.reading.read_and_note(path)
        subsets = dataset.subsets
        names = list(subsets) if self.subset == "all" else [self.subset]
        everyone = [s for name in names for s in subsets[name]]
        samples = [s for s in everyone if s.pid != JUNK_PID]
        if len(samples) < len(everyone):
            say(f"note: {counted(len(everyone) - len(samples), 'junk image')} (pid -1) left out.")
        if not samples:
            sizes = ", ".join(f"{name} {len(found):,}" for name, found in subsets.items())
            raise CrosscamError(f"{path} has no {self.subset} images ({sizes}). Choose with --subset.")
        return dataset, samples

    def _unlabelled(self, path: Path) -> list[Sample]:
        if self.subset != "gallery":
            raise CrosscamError(f"{path} is not a dataset, so it has no subset {self.subset}. Leave --subset out.")
        images = self.reading.read_unlabeled(path)
        tell_notes(images.notes)
        return list(images.gallery)


def _tell_kept(added: Filled) -> None:
    """Say where the gallery keeps what it has."""
    if added.changed:
        say(
            f"note: {len(added.changed):,} of the images that were there have changed on the disk since; the "
            "gallery keeps what it has. Forget and add them again if they show something else. First: "
            f"{added.changed[0]}."
        )
    if added.differing:
        say(
            f"note: of {len(added.differing):,} of the images that were there the gallery has another identity, "
            "camera, time or track, and keeps it. 'crosscam gallery update' changes it. First: "
            f"{added.differing[0]}."
        )
    if added.joined:
        first = ", ".join(f"{camera} {track}" for camera, track in added.joined[:3])
        say(
            f"note: {counted(len(added.joined), 'track is')} continued by images of another source than before "
            f"({first}{', ...' if added.joined[3:] else ''}). If the tracker began to count anew, these are other "
            "people: forget the new images, and give each track of a camera a name of its own, such as 1125-3."
        )


@dataclass(frozen=True, kw_only=True)
class Update:
    """Give entries another identity, camera, time or track."""

    gallery: Place
    ids: tuple[int, ...] = ()
    """Entries by number."""
    pid: Unset[int] = None
    """The new identity."""
    camera: Unset[str] = None
    """The new camera, by name or number; a new name makes a new camera."""
    name_cameras: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CAMERA=NAME")] = ()
    """Give a camera another name, for example --name-cameras 1="Kamera Sued"; may be given several times."""
    time: Time = None
    """The new time: a date such as '2026-11-24 08:30' (UTC), how long ago, such as 2h, or seconds."""
    track: Unset[str] = None
    """The new track."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        changes = any(value is not None for value in (self.pid, self.camera, self.time, self.track))
        if not changes and not self.name_cameras:
            raise CrosscamError("Nothing to change. Give --pid, --camera, --time, --track or --name-cameras.")
        if changes and not self.ids:
            raise CrosscamError("Nothing says which entries to change. Give them with --ids.")
        time = None if self.time is None else read_time(self.time, "--time")
        with open_gallery(self.gallery, write=True) as gallery:
            if self.name_cameras:
                gallery.name_cameras(_new_names(gallery, self.name_cameras))
            camid, name = (None, None) if self.camera is None else _camera(gallery, self.camera)
            count = gallery.update(
                self.ids,
                pid=KEEP if self.pid is None else self.pid,
                camid=KEEP if camid is None else camid,
                time=KEEP if time is None else time,
                track=KEEP if self.track is None else self.track,
            )
            if camid is not None and name is not None:
                gallery.name_cameras({camid: name})
        named = f"{counted(len(self.name_cameras), 'camera')} named." if self.name_cameras else ""
        said = [f"{counted(count, 'entry')} changed."] if changes else []
        value = {"updated": count} | ({"named": len(self.name_cameras)} if self.name_cameras else {})
        self.general.tell(value, " ".join([*said, named]).strip())


def _new_names(gallery: Gallery, given: Sequence[str]) -> dict[int, str | None]:
    """``CAMERA=NAME`` by the camera's number; an empty name takes the name away."""
    names = gallery.camera_names()
    found: dict[int, str | None] = {}
    for setting in given:
        camera, equals, name = setting.partition("=")
        if not equals:
            raise CrosscamError(f"--name-cameras {setting!r}: expected CAMERA=NAME, such as 1='Kamera Sued'.")
        found[camid_of(names, camera.strip())] = same_spelling(name) or None
    return found


def _camera(gallery: Gallery, camera: str) -> tuple[int, str | None]:
    """Number of a camera that a user gives by name or number; with its name, where that is new to the gallery."""
    names = gallery.camera_names()
    label = read_label(camera)
    if isinstance(label, int) or label in names.values():
        return camid_of(names, camera), None
    check_name(label)
    return max((0, *names, *(camid for camid, _ in gallery.info().cameras))) + 1, label


@dataclass(frozen=True, kw_only=True)
class Forget:
    """Remove entries for good.

    No byte of their descriptors and thumbnails stays in the gallery's folder.
    """

    gallery: Place
    choosing: Choosing = field(default_factory=Choosing)
    general: General = field(default_factory=General)

    def run(self) -> None:
        with open_gallery(self.gallery, write=True) as gallery:
            where = self.choosing.where(gallery)
            refuse_unknown(gallery, where)
            count = gallery.forget(where)
            left = len(gallery)
        self.general.tell({"forgotten": count, "entries": left}, _forgotten(count, left))


def _forgotten(count: int, left: int) -> str:
    return f"{counted(count, 'entry')} forgotten; {counted(left, 'entry')} left."


@dataclass(frozen=True, kw_only=True)
class Expire:
    """Forget what is older than a time span."""

    gallery: Place
    keep: str
    """How long entries are kept: a number and s, m, h, d or w, such as 30d."""
    by: Literal["added", "time"] = "added"
    """What the age counts from: when the entry came in, or its own time in seconds of the Unix epoch."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        with open_gallery(self.gallery, write=True) as gallery:
            count = gallery.expire(self.keep, by=self.by)
            left = len(gallery)
            note = without_time(gallery) if self.by == "time" else ""
        said = _forgotten(count, left) + note
        self.general.tell({"forgotten": count, "entries": left}, said)
