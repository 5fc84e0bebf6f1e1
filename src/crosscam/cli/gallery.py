"""``crosscam gallery``: create, add, search, update, forget, expire, compact, index, info, verify, export, backup."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg, subcommand

from crosscam.cli.describe import find_pictures
from crosscam.cli.options import General, Reading, Unset, best_device
from crosscam.cli.show import OUT, bars, counting, say, show_json, table
from crosscam.data.images import decode_image
from crosscam.data.records import JUNK_PID, Sample
from crosscam.data.table import camids_by_rule
from crosscam.errors import CrosscamError
from crosscam.extraction import Extractor
from crosscam.gallery.calibrated import calibration_of
from crosscam.gallery.filling import fill, make_thumbnail, matching_extractor
from crosscam.gallery.identity import identify_model
from crosscam.gallery.interface import Gallery
from crosscam.gallery.places import create_gallery, open_gallery
from crosscam.gallery.records import KEEP, Hit, IndexInfo, Where, unit_mean
from crosscam.gallery.weights import block_weights, parse_weights
from crosscam.report.hits import when, write_hits
from crosscam.retrieval.calibration import Verdict

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
        create_gallery(self.gallery, extractor.layout, model).close()
        if self.general.json:
            show_json({"gallery": self.gallery, "model": dataclasses.asdict(model), "dim": extractor.dim})
        else:
            say(f"{self.gallery} is ready for descriptors of {model.name} (fingerprint {model.fingerprint}).")


@dataclass(frozen=True, kw_only=True)
class Add:
    """Describe pictures and add them. Pictures that the gallery has are left alone, so that a second call goes on."""

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
        samples = self._samples()
        with open_gallery(self.gallery, write=True) as gallery, bars(self.general.json) as progress:
            added = fill(
                gallery,
                matching_extractor(gallery, self.run_folder, best_device()),
                samples,
                labelled=not self.unlabelled,
                thumbnails=not self.no_thumbnails,
                skip_damaged=self.skip_damaged,
                progress=counting(progress, "adding"),
            )
            total = len(gallery)
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

    def _samples(self) -> list[Sample]:
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
            return [Sample(path, 0, camid) for path, camid in zip(paths, camids, strict=True)]
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
        return samples


@dataclass(frozen=True, kw_only=True)
class Search:
    """Find the entries nearest to pictures."""

    gallery: Place
    """The gallery."""
    run_folder: Positional[Path]
    """Run folder of the gallery's model."""
    pictures: Annotated[Positional[tuple[Path, ...]], arg(metavar="PICTURE...", help_behavior_hint="(one or more)")]
    """Pictures of the one to find; several of one person are one query, the mean of their descriptors."""
    k: int = 20
    """Hits."""
    parts: Unset[str] = None
    """Weights of body parts, such as torso=2,feet=0: head, torso, legs, feet, whole, or blocks by name."""
    pool_tracks: bool = False
    """Count the pictures of a track as one, by the mean of their descriptors."""
    rerank: int = 0
    """Re-rank this many first hits by their k-reciprocal neighbours."""
    approximate: bool = False
    """Look into the likely lists alone; needs 'crosscam gallery index' once."""
    html: Unset[Path] = None
    """Also write the hits as a page with their pictures."""
    choosing: Choosing = field(default_factory=Choosing)
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Describe, search, show."""
        if not self.pictures:
            raise CrosscamError("No picture to search for. Give at least one after the run folder.")
        weights = parse_weights(self.parts) if self.parts else None
        images = [decode_image(path) for path in self.pictures]
        with open_gallery(self.gallery) as gallery:
            block_weights(weights, gallery.layout)
            query = unit_mean(matching_extractor(gallery, self.run_folder, best_device())(images))
            (hits,) = gallery.search(
                query,
                self.k,
                model=gallery.model.fingerprint,
                where=self.choosing.where,
                weights=weights,
                pool_tracks=self.pool_tracks,
                rerank_first=self.rerank,
                approximate=self.approximate,
            )
            if self.html:
                thumbnails = gallery.thumbnails([hit.entry.id for hit in hits])
                subtitle = f"{self.gallery}, {len(gallery):,} entries" + (f"; {self.parts}" if self.parts else "")
                pictures = [make_thumbnail(image) for image in images]
                write_hits(self.html, pictures, hits, thumbnails, gallery.layout, subtitle=subtitle)
            self._show(gallery, hits, *self._judge(gallery, hits))

    def _judge(self, gallery: Gallery, hits: list[Hit]) -> tuple[list[Verdict | None], str]:
        """Same, unsure or other for each hit, and what that rests on or why there are no verdicts."""
        if self.parts or self.rerank:
            return [None] * len(hits), "No verdicts: weights and re-ranking change the distances that were calibrated."
        calibration, reason = calibration_of(gallery)
        if calibration is None:
            return [None] * len(hits), f"No verdicts: {reason}"
        # Nobody says which camera took the query.
        return [calibration.verdict(hit.distance, None, hit.entry.camid) for hit in hits], calibration.rests_on()

    def _show(self, gallery: Gallery, hits: list[Hit], verdicts: list[Verdict | None], rests_on: str) -> None:
        if self.general.json:
            names = [block.name for block in gallery.layout]
            show_json([_as_json(hit, names) | {"verdict": v} for hit, v in zip(hits, verdicts, strict=True)])
            return
        rows = [
            (
                str(rank),
                f"{hit.distance:.4f}",
                verdict or "",
                str(hit.entry.id),
                "" if hit.entry.pid is None else str(hit.entry.pid),
                str(hit.entry.camid),
                when(hit.entry.time),
                hit.entry.track or "",
                hit.entry.path,
            )
            for rank, (hit, verdict) in enumerate(zip(hits, verdicts, strict=True), start=1)
        ]
        table(("rank", "distance", "verdict", "entry", "id", "camera", "time", "track", "picture"), rows)
        say(rests_on)
        if self.html:
            say(f"Written to {self.html}.")


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
        _tell(self.general, {"updated": count}, f"{count:,} entries changed.")


@dataclass(frozen=True, kw_only=True)
class Forget:
    """Remove entries for good: no byte of their descriptors and thumbnails stays in the gallery's folder."""

    gallery: Place
    """The gallery."""
    choosing: Choosing = field(default_factory=Choosing)
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Forget and count."""
        with open_gallery(self.gallery, write=True) as gallery:
            count = gallery.forget(self.choosing.where)
            left = len(gallery)
        _tell(self.general, {"forgotten": count, "entries": left}, f"{count:,} entries forgotten; {left:,} are left.")


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
        _tell(self.general, {"forgotten": count, "entries": left}, f"{count:,} entries forgotten; {left:,} are left.")


@dataclass(frozen=True, kw_only=True)
class Compact:
    """Give the places of forgotten entries back to the disk."""

    gallery: Place
    """The gallery."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Compact and count."""
        with open_gallery(self.gallery, write=True) as gallery:
            freed = gallery.compact()
        _tell(self.general, {"bytes": freed}, f"{freed / 1e6:,.1f} MB given back.")


@dataclass(frozen=True, kw_only=True)
class Index:
    """Build the index of the approximate search, and measure its recall against the exact one."""

    gallery: Place
    """The gallery."""
    recall: float = 0.99
    """Least share of the true first ten that is to be found."""
    seed: int = 0
    """Of the samples."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Build and tell."""
        with open_gallery(self.gallery, write=True) as gallery:
            found = gallery.build_index(recall=self.recall, seed=self.seed)
        _tell(self.general, dataclasses.asdict(found), _index_text(found))


@dataclass(frozen=True, kw_only=True)
class Info:
    """Tell what a gallery holds."""

    gallery: Place
    """The gallery."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Look and show."""
        with open_gallery(self.gallery) as gallery:
            found = gallery.info()
        if self.general.json:
            show_json(dataclasses.asdict(found) | {"dim": found.dim})
            return
        size = "unknown" if found.bytes is None else f"{found.bytes / 1e6:,.1f} MB"
        rows = [
            ("model", f"{found.model.name}, fingerprint {found.model.fingerprint}"),
            ("descriptor", f"{found.dim:,} numbers in {len(found.layout)} blocks"),
            ("entries", f"{found.entries:,}, and {found.wiped:,} wiped places that compact gives back"),
            ("people, tracks", f"{found.people:,}, {found.tracks:,}"),
            ("cameras", ", ".join(f"{camid}: {count:,}" for camid, count in found.cameras) or "none"),
            ("times", "none" if found.times is None else " to ".join(map(when, found.times))),
            ("added", "never" if found.added is None else " to ".join(map(when, found.added))),
            ("size", size),
            ("index", "none; the search is exact" if found.index is None else _index_text(found.index)),
        ]
        table(("", found.place), rows, numbers=False)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Read everything in a gallery and compare it with its checksums. The exit status is 1 if something is wrong."""

    gallery: Place
    """The gallery."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Read and tell."""
        with open_gallery(self.gallery) as gallery:
            found = gallery.verify()
        if self.general.json:
            show_json(dataclasses.asdict(found) | {"sound": found.sound})
        else:
            for problem in found.problems:
                OUT.print(problem, markup=False)
            OUT.print(f"{found.entries:,} entries read, {'all sound' if found.sound else 'not sound'}.", markup=False)
        if not found.sound:
            sys.exit(1)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write entries and descriptors as a table for other programs."""

    gallery: Place
    """The gallery."""
    out: Positional[Path]
    """The .parquet or .npz file to write."""
    choosing: Choosing = field(default_factory=Choosing)
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Write and count."""
        with open_gallery(self.gallery) as gallery:
            count = gallery.export(self.out, self.choosing.where)
        _tell(self.general, {"out": str(self.out), "entries": count}, f"{count:,} entries written to {self.out}.")


@dataclass(frozen=True, kw_only=True)
class Backup:
    """Copy a gallery as it stands; the copy is a gallery itself, and forgets nothing by itself."""

    gallery: Place
    """The gallery."""
    out: Positional[Path]
    """Folder to make."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        """Copy and count."""
        with open_gallery(self.gallery) as gallery:
            count = gallery.backup(self.out)
        _tell(self.general, {"out": str(self.out), "entries": count}, f"{count:,} entries copied to {self.out}.")


GalleryCommand = (
    Annotated[Create, subcommand("create")]
    | Annotated[Add, subcommand("add")]
    | Annotated[Search, subcommand("search")]
    | Annotated[Update, subcommand("update")]
    | Annotated[Forget, subcommand("forget")]
    | Annotated[Expire, subcommand("expire")]
    | Annotated[Compact, subcommand("compact")]
    | Annotated[Index, subcommand("index")]
    | Annotated[Info, subcommand("info")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Backup, subcommand("backup")]
)

GALLERY_COMMANDS: dict[str, Any] = {
    "create": Create,
    "add": Add,
    "search": Search,
    "update": Update,
    "forget": Forget,
    "expire": Expire,
    "compact": Compact,
    "index": Index,
    "info": Info,
    "verify": Verify,
    "export": Export,
    "backup": Backup,
}


@dataclass(frozen=True)
class GalleryGroup:
    """Galleries: descriptors that last, searched by picture, camera and time."""

    command: Annotated[GalleryCommand, arg(name="")]

    @property
    def general(self) -> General:
        """The chosen command's."""
        return self.command.general

    def run(self) -> None:
        """Run the chosen command."""
        self.command.run()


def _tell(general: General, value: dict[str, Any], text: str) -> None:
    if general.json:
        show_json(value)
    else:
        say(text)


def _index_text(index: IndexInfo) -> str:
    return (
        f"{index.entries:,} entries in {index.lists:,} lists, {index.probes:,} of them looked into; "
        f"recall of the first ten {100 * index.recall_at_10:.1f} % on {index.queries:,} queries"
    )


def _as_json(hit: Hit, names: list[str]) -> dict[str, Any]:
    parts = dict(zip(names, hit.contributions.tolist(), strict=True))
    return dataclasses.asdict(hit.entry) | {
        "distance": hit.distance,
        "reranked": hit.reranked,
        "pooled": hit.pooled,
        "contributions": parts,
    }
