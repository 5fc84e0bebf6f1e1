"""``crosscam extract``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from crosscam.cli.options import General, Reading, Unset, tell_notes
from crosscam.cli.show import bars, counting, say, show_json
from crosscam.data.datasets.camera_folders import tell_cameras
from crosscam.data.datasets.cells import refuse_for_parquet
from crosscam.data.datasets.table import is_table
from crosscam.data.datasets.unlabeled import find_images
from crosscam.data.images import decode_image
from crosscam.data.text_files import is_list
from crosscam.errors import DataError, ImageError
from crosscam.inference.bulk import PART_SIZE, Summary, describe_stream, entries_of, entries_of_list, run_here
from crosscam.inference.descriptor_files import Entry, check_name
from crosscam.inference.engines.onnx_engine import INT8_IMAGES
from crosscam.inference.engines.registry import ENGINES, is_int8
from crosscam.inference.extractor import Extractor
from crosscam.inference.ray_cluster import run_on_ray
from crosscam.system.cores import best_device
from crosscam.system.distributed import joined_world
from crosscam.system.files import check_file
from crosscam.system.text import counted

_ENGINE_HELP = (
    f"auto (measured once and kept beside the run), {', '.join(name for name in ENGINES if not is_int8(name))}; "
    f"{' or '.join(filter(is_int8, ENGINES))} take their ranges from some of the images."
)


@dataclass(frozen=True, kw_only=True)
class Extract:
    """Turn images into descriptors of length 1.

    Part by part; the same call goes on where an earlier one stopped.
    """

    run_folder: Positional[Path]
    """Run folder with the trained network; a file of 'crosscam export'; rrid-mini, which comes with crosscam; or a
    network of import-network."""
    images: Positional[Path]
    """An image; a folder, searched with all its folders; a .txt file with a path in each line; or a table."""
    out: Positional[Path]
    """The .npz or .parquet file to write, or a new folder for a Parquet dataset."""
    dataset: bool = False
    """IMAGES is a dataset: all its subsets are described, with pid, camid, time and track."""
    no_flip: bool = False
    """Leave mirror images out: half the work for a somewhat worse descriptor."""
    engine: Annotated[str, arg(help=_ENGINE_HELP)] = "auto"
    part_size: int = PART_SIZE
    """Images that are saved together; a kill loses at most so many."""
    ray: Unset[str] = None
    """Address of a Ray cluster whose machines share the work, or local; they must see the same paths."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        check_name(self.out)
        check_file(self.out)
        if self.part_size < 1:
            raise DataError(f"--part-size {self.part_size}: expected at least 1.")
        entries = self._entries()
        if self.out.suffix != ".npz":
            refuse_for_parquet([text for e in entries for text in (str(e.path), e.track or "", e.camera or "")])
        with joined_world() as world:
            extractor = self._open(entries)
            if self.ray is None:
                run = run_here(extractor, len(entries))
            else:
                run = run_on_ray(self.ray, lambda: self._open(entries), len(entries))
            with bars(self.general.json or world.rank > 0) as progress:
                done = describe_stream(
                    entries,
                    self.out,
                    fingerprint=extractor.fingerprint,
                    run=run,
                    part_size=self.part_size,
                    engine=self.engine,
                    progress=counting(progress, "describing"),
                    world=world,
                )
        if world.rank == 0:
            self._tell(done, extractor)

    def _entries(self) -> list[Entry]:
        if self.dataset or is_table(self.images):
            return entries_of(self.reading.read_and_note(self.images, images=not self.dataset))
        self.reading.refuse_for_images(self.images, "kind")
        if is_list(self.images):
            listed = entries_of_list(self.images)
            told = self.reading.camids is not None or self.reading.camera is not None
            return self._placed([e.path for e in listed], []) if told else listed
        paths, notes = find_images(self.images)
        entries = self._placed(paths, notes)
        tell_notes(notes)
        return entries

    def _placed(self, paths: Sequence[Path], notes: list[str]) -> list[Entry]:
        """Images with their cameras, as far as the user, file names, or several folders tell them."""
        rule, camera = self.reading.camids, self.reading.camera
        folder = self.images if self.images.is_dir() else self.images.parent
        said: list[str] = []
        samples = tell_cameras(paths, folder, rule, said, camera=camera)
        if rule is None and camera is None and len({(s.camid, s.camera) for s in samples}) == 1:
            return [Entry(path) for path in paths]
        notes += said
        return [Entry(s.path, camid=s.camid, camera=s.camera) for s in samples]

    def _open(self, entries: Sequence[Entry]) -> Extractor:
        images = readable([e.path for e in entries], INT8_IMAGES) if is_int8(self.engine) else None
        flip = False if self.no_flip else None
        device = best_device()
        return Extractor.load(self.run_folder, flip=flip, device=device, engine=self.engine, int8_images=images)

    def _tell(self, done: Summary, extractor: Extractor) -> None:
        total = done.described + len(done.failures)
        if self.general.json:
            told = {"out": str(self.out), "pictures": done.described, "numbers": extractor.dim}
            told |= {"failures": len(done.failures), "resumed": done.resumed}
            show_json(told | {"engine": extractor.used, "fingerprint": extractor.fingerprint})
        elif not done.failures:
            earlier = f" ({done.resumed:,} by an earlier call)" if done.resumed else ""
            engine = f" by {extractor.used}" if extractor.used != "auto" else ""
            images = counted(done.described, "image")
            say(f"{images}{earlier}, {extractor.dim:,} numbers each{engine}, written to {self.out}.")
        if done.failures and not done.described:
            raise DataError(
                f"None of the {total:,} images can be read; {done.failures_file} lists them, and {self.out} holds no "
                f"descriptors. First: {done.failures[0][1]}"
            )
        if done.failures:
            raise DataError(
                f"{len(done.failures):,} of {total:,} images cannot be read; {done.failures_file} lists them, and the "
                f"others are in {self.out}. First: {done.failures[0][1]}"
            )


def readable(paths: Sequence[Path], count: int) -> list[Path]:
    """About ``count`` of the files, evenly spread, that can be read; the others are told of when their turn comes."""
    found = []
    for path in paths[:: max(1, len(paths) // count)][:count]:
        with suppress(ImageError):
            decode_image(path)
            found.append(path)
    return found
