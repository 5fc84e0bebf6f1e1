"""``crosscam data``: doctor, render, holdout, join."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import Positional, arg

from crosscam.cli.options import General, Reading, Unset, tell_notes
from crosscam.cli.parsing import flag
from crosscam.cli.show import bars, counting, print_plain, say, show_json, table
from crosscam.data.datasets.holdout import holdout
from crosscam.data.datasets.joining import generalize, join
from crosscam.data.datasets.readers import READERS, recognize, with_distractors
from crosscam.data.datasets.table import write_table
from crosscam.data.doctor import as_text, examine_dataset
from crosscam.data.records import ReidDataset
from crosscam.data.synthetic.dataset import RenderSummary, contact_sheet, render_dataset
from crosscam.data.synthetic.identities import SHARING_GROUP
from crosscam.data.synthetic.videos import VideoSummary, render_videos
from crosscam.errors import ArgumentError
from crosscam.system.files import check_file, check_folder
from crosscam.system.text import counted

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Count a dataset beside its official numbers, and find what is wrong with it.

    Every image is opened. The exit status is 1 if an error was found, 0 for warnings and less.
    """

    path: Positional[Path]
    """Folder or table of the dataset, or unlabeled images: a folder, perhaps with one for each
    camera, or a table without pid."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        with bars(self.general.json) as progress:
            dataset = self.reading.read(self.path, images=True)
            found = examine_dataset(dataset, progress=counting(progress, "reading images"))
        if self.general.json:
            show_json(found.to_dict())
        else:
            print_plain(as_text(found))
        if not found.healthy:
            sys.exit(1)


@dataclass(frozen=True, kw_only=True)
class Render:
    """Draw a dataset of walking people seen by several cameras.

    It has the layout of Market-1501; or, with --video, it is a video of each camera, with the truth in MOT's format.
    """

    out: Positional[Path]
    """Folder to write; empty or missing."""
    ids: Annotated[int | None, arg(help_behavior_hint="(default: 300; of a video 8)")] = None
    """Identities; of a dataset, a part of them is for testing."""
    cameras: Annotated[int | None, arg(help_behavior_hint="(default: 4; of a video 2)")] = None
    """Cameras."""
    images: Annotated[int | None, arg(help_behavior_hint="(default: 4)")] = None
    """Images of each identity at each camera."""
    collide: float = 0.3
    """Share of the identities that wear the same upper or lower garment as somebody else."""
    collide_group: Annotated[int | None, arg(help_behavior_hint=f"(default: {SHARING_GROUP})")] = None
    """Most people who share one garment."""
    seed: int = 0
    """The same seed draws the same bytes."""
    test_share: Annotated[float | None, arg(help_behavior_hint="(default: 0.2)")] = None
    """Share of the identities that are for testing."""
    video: bool = False
    """Draw videos of people who walk from camera to camera: NAME.mp4 and NAME/gt/gt.txt of each, and cameras.toml."""
    frames: bool = False
    """With --video: write the frames as JPEG files instead, which needs no PyAV."""
    seconds: Annotated[float | None, arg(help_behavior_hint="(default: 20)")] = None
    """With --video: length of each video."""
    rate: Annotated[float | None, arg(help_behavior_hint="(default: 10)")] = None
    """With --video: frames a second."""
    sheet: Unset[Path] = None
    """Also save a contact sheet (PNG): identities as rows, cameras as columns."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        self._refuse_what_means_nothing()
        check_folder(self.out)
        check_file(self.sheet)
        if self.video:
            self._draw_videos()
        else:
            self._draw_dataset()

    def _refuse_what_means_nothing(self) -> None:
        names = ("images", "collide_group", "test_share", "sheet") if self.video else ("frames", "seconds", "rate")
        for name in names:
            if getattr(self, name) is not None and getattr(self, name) is not False:
                where = "with --video" if self.video else "without --video"
                raise ArgumentError(f"{flag(name)} means nothing {where}. Leave it out.")

    def _draw_videos(self) -> None:
        with bars(self.general.json) as progress:
            drawn = render_videos(
                self.out,
                people=_given(self.ids, 8),
                cameras=_given(self.cameras, 2),
                seconds=_given(self.seconds, 20.0),
                rate=_given(self.rate, 10.0),
                collide=self.collide,
                seed=self.seed,
                as_frames=self.frames,
                progress=counting(progress, "drawing frames"),
            )
        self.general.tell(
            as_json(drawn),
            f"Drew {counted(drawn.people, 'person')}, {drawn.across} of them at more than one of the cameras "
            f"{', '.join(drawn.cameras)}: {drawn.frames:,} frames each, {drawn.boxes:,} boxes, in {self.out}.",
        )

    def _draw_dataset(self) -> None:
        with bars(self.general.json) as progress:
            drawn = render_dataset(
                self.out,
                ids=_given(self.ids, 300),
                cameras=_given(self.cameras, 4),
                images=_given(self.images, 4),
                collide=self.collide,
                group=_given(self.collide_group, SHARING_GROUP),
                seed=self.seed,
                test_share=_given(self.test_share, 0.2),
                progress=counting(progress, "drawing people"),
            )
        if self.sheet:
            contact_sheet(self.out, self.sheet)
        self.general.tell(
            as_json(drawn),
            f"Drew {drawn.train_ids} training and {drawn.test_ids} test identities at {drawn.cameras} cameras: "
            f"{drawn.train:,} training, {drawn.query:,} query and {drawn.gallery:,} gallery images in {self.out}.",
        )


def _given(value: Number | None, otherwise: Number) -> Number:
    return otherwise if value is None else value


def as_json(drawn: RenderSummary | VideoSummary) -> dict[str, Any]:
    """What was drawn."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(drawn).items()}


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Cut a test split (query, gallery) out of training identities.

    The result is a table that every command reads.
    """

    path: Positional[Path]
    """Folder or table of the dataset."""
    out: Positional[Path]
    """Table to write: .csv, .tsv or .parquet. It names the images where they lie; nothing is copied."""
    train_ids: Unset[int] = None
    """Identities that stay for training; decides alone where it is given."""
    test_share: Annotated[float, arg(help_behavior_hint="(default: 1/3)")] = 1 / 3
    """Share of the identities that are tested."""
    seed: Unset[int] = None
    """Shuffle the identities; without it the last ones by number are tested."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        check_file(self.out)
        dataset = replace(self.reading, distractors=None).read(self.path)
        cut = holdout(dataset, num_train_ids=self.train_ids, test_share=self.test_share, seed=self.seed)
        if self.reading.distractors is not None:
            cut = with_distractors(cut, self.reading.distractors)
        tell_notes(cut.notes)
        _write_and_count(cut, self.out, self.general.json)


@dataclass(frozen=True, kw_only=True)
class Join:
    """Put several datasets side by side in one table.

    Their identities and cameras are kept apart. One alone is only written as a table, for example by one of its
    published protocols.
    """

    out: Positional[Path]
    """Table to write: .csv, .tsv or .parquet. It names the images where they lie; nothing is copied."""
    paths: Positional[tuple[Path, ...]]
    """Folders or tables of the datasets."""
    generalize: Unset[str] = None
    """Protocol of domain generalization: dimn, m3l, protocol-1, protocol-2 or protocol-3; see docs/datasets.md."""
    test: Unset[str] = None
    """With --generalize: kind of the dataset that is tested, such as market1501; the others train."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        check_file(self.out)
        if (self.generalize is None) != (self.test is None):
            raise ArgumentError("--generalize names a protocol and --test what it tests. Give both, or neither.")
        reading = replace(self.reading, distractors=None)
        datasets = self._read_all(reading)
        if self.generalize is not None and self.test is not None:
            joined = generalize(self.generalize, self.test, self._by_kind(datasets))
        else:
            joined = join(datasets, self.out.stem) if len(datasets) > 1 else datasets[0]
        if self.reading.distractors is not None:
            # Once, whatever is joined.
            joined = with_distractors(joined, self.reading.distractors)
        tell_notes(joined.notes)
        if joined.tracklets:
            say("note: the table holds images and their tracks; 'crosscam evaluate --tracklets' ranks the tracks.")
        _write_and_count(joined, self.out, self.general.json)

    def _by_kind(self, datasets: list[ReidDataset]) -> dict[str, ReidDataset]:
        found: dict[str, ReidDataset] = {}
        for path, dataset in zip(self.paths, datasets, strict=True):
            kind = recognize(path, self.reading.kind)
            if kind is None or kind[0] in found:
                raise ArgumentError(f"{path} is another {kind and kind[0]}. Give one dataset of each kind.")
            found[kind[0]] = dataset
        return found

    def _read_all(self, reading: Reading) -> list[ReidDataset]:
        """Each dataset with those of the options that its kind has; ArgumentError for an option that none has."""
        names = ("protocol", "split", "camids", "boxes", "extract_to", "frames")
        options = [name for name in names if getattr(reading, name) is not None]
        if len(self.paths) == 1 or not options:
            return [reading.read(path) for path in self.paths]
        found = [(path, recognize(path, reading.kind)) for path in self.paths]
        taken = {path: READERS[kind[0]].takes for path, kind in found if kind is not None}
        for name in options:
            takers = [str(path) for path, own in taken.items() if name in own]
            if taken and not takers:
                raise ArgumentError(f"{flag(name)} means nothing for any of these datasets. Leave it out.")
            if len(takers) < len(self.paths):
                say(f"note: {flag(name)} counts for {', '.join(takers)} alone.")
        datasets = []
        for path in self.paths:
            own = taken.get(path, frozenset(options))
            datasets.append(replace(reading, **{n: None for n in options if n not in own}).read(path))
        return datasets


def _write_and_count(dataset: ReidDataset, out: Path, as_json: bool) -> None:
    write_table(dataset, out)
    rows = [
        (name, len({s.pid for s in samples if s.pid > 0}), len(samples), len({s.camid for s in samples}))
        for name, samples in dataset.subsets.items()
    ]
    if as_json:
        columns = ("subset", "ids", "images", "cameras")
        show_json({"out": str(out), "subsets": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        texts = [(name, *(f"{count:,}" for count in counts)) for name, *counts in rows]
        table(("subset", "# ids", "# images", "# cameras"), texts, f"Written to {out}")
