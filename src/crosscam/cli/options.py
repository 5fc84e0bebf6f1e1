"""Options that several commands share; ``--help`` shows each of these groups in a box of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import UseAppendAction, arg

from crosscam.cli.parsing import flag
from crosscam.cli.show import say, show_json
from crosscam.data.datasets.readers import is_unlabeled, read_dataset, recognize
from crosscam.data.datasets.unlabeled import read_images
from crosscam.data.doctor import told
from crosscam.data.labels import read_label
from crosscam.data.records import ReidDataset
from crosscam.errors import ArgumentError, UnusedOptionError
from crosscam.system.distributed import is_first_process

HINTS = {
    "folders": "If each folder is a person, and no camera, tell the cameras by --camids.",
    "cameras": "If the folders in those of the cameras are people, give --kind cameras.",
}
T = TypeVar("T")
# An option that is not set unless the user sets it; its help says what happens without it.
Unset = Annotated[T | None, arg(help_behavior_hint="")]
Settings = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")]


@dataclass(frozen=True, kw_only=True)
class General:
    """What every command takes."""

    json: bool = False
    """Print the result as one JSON document on standard output; remarks still go to standard error."""
    debug: bool = False
    """Show the whole traceback of an error."""

    def tell(self, value: dict[str, Any], text: str) -> None:
        """Say what was done, as JSON where that was asked for."""
        if self.json:
            show_json(value)
        else:
            say(text)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the dataset is read, where its folder does not say it; see docs/datasets.md."""

    kind: Unset[str] = None
    """Kind of the dataset, if it is not recognized: market1501, cuhk03, table, folders, ..."""
    protocol: Unset[str] = None
    """Published protocol, where there are several."""
    split: Unset[int] = None
    """Number of the random split, where there are several."""
    camids: Unset[str] = None
    """Camera of own images: a number for all, or a regular expression with one group over the file name; with a slash
    in it, over the path below the folder."""
    camera: Unset[str] = None
    """Name or number of the one camera that took all images, such as "Kamera Sued"."""
    boxes: Unset[str] = None
    """CUHK03: labeled or detected."""
    extract_to: Unset[Path] = None
    """CUHK03's cuhk-03.mat: folder for its images; beside the file by default."""
    frames: Unset[int] = None
    """Datasets of tracklets: read at most so many frames of each, evenly spread."""
    distractors: Unset[Path] = None
    """Folder of images that are added to the gallery and never match, such as Market-1501's 500,000."""

    def read(self, path: Path, *, images: bool = False) -> ReidDataset:
        """The dataset at ``path``; with ``images``, unlabeled images will do: :meth:`is_unlabeled`."""
        if images and self.is_unlabeled(path):
            return self.read_unlabeled(path)
        if self.camera is not None and self.camids is not None:
            raise ArgumentError("--camera names the one camera of all images, --camids finds it. Give one of them.")
        number = None if self.camera is None else read_label(self.camera)
        with self._named_as_options():
            dataset = read_dataset(
                path,
                kind=self.kind,
                protocol=self.protocol,
                split=self.split,
                camids=1 if isinstance(number, str) else self.camids if number is None else number,
                boxes=self.boxes,
                extract_to=self.extract_to,
                frames=self.frames,
                distractors=self.distractors,
            )
        return with_camera(dataset, number) if isinstance(number, str) else dataset

    @contextmanager
    def _named_as_options(self) -> Iterator[None]:
        try:
            yield
        except UnusedOptionError as error:
            # One camera for all is read as a rule for camera numbers.
            name = "camera" if error.option == "camids" and self.camera is not None else error.option
            raise ArgumentError(f"{flag(name)} {error.told}") from error

    def read_and_note(self, path: Path, *, images: bool = False) -> ReidDataset:
        """The same, and say what the reader left out or decided."""
        dataset = self.read(path, images=images)
        tell_notes(dataset.notes)
        return dataset

    def is_unlabeled(self, path: Path) -> bool:
        """Whether nothing says who is on the images: see :func:`crosscam.data.datasets.readers.is_unlabeled`."""
        return is_unlabeled(path, self.kind, camids=self.camids)

    def refuse_for_images(self, path: Path, *names: str) -> None:
        """Refuse (ArgumentError) options that mean nothing for unlabeled images, and ``names`` of others."""
        for name in (*names, "protocol", "split", "boxes", "extract_to", "frames", "distractors"):
            if getattr(self, name) is not None:
                raise ArgumentError(f"{flag(name)} is for datasets, and {path} is read as plain images. Leave it out.")

    def read_unlabeled(self, path: Path) -> ReidDataset:
        """Images of which nothing says who is on them; with a hint where their folders might."""
        self.refuse_for_images(path)
        with self._named_as_options():
            images = read_images(path, camids=self.camids, camera=self.camera)
        found = recognize(path) if self.kind is None and path.is_dir() else None
        hint = HINTS.get(found[0]) if found is not None else None
        told = ("The images are unlabeled.", *([hint] if hint else []))
        return replace(images, notes=(*images.notes, *told))


def with_camera(dataset: ReidDataset, camera: str) -> ReidDataset:
    """All samples with the name of their one camera."""
    train, query, gallery = (tuple(replace(s, camera=camera) for s in samples) for samples in dataset.subsets.values())
    return replace(dataset, train=train, query=query, gallery=gallery)


def tell_notes(notes: Iterable[str]) -> None:
    """Say each note, in the first process; one that begins with "warning: " as it is."""
    if is_first_process():
        for note in notes:
            say(told(note))


def output_of(source: Path, name: str) -> Path:
    """Where a command writes by default: into the run folder; for a shipped network, here, with its name in front."""
    return source / name if source.is_dir() else Path(f"{source}-{name}")
