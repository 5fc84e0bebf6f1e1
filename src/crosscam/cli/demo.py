"""``crosscam demo``: the whole way, on drawn people or on the user's own images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crosscam.calibration.calibration import Calibration
from crosscam.cli.options import General, Settings, Unset, tell_notes
from crosscam.cli.parsing import flag
from crosscam.cli.show import bars, counting, listing, pasteable, say, show_json
from crosscam.cli.train import run_shown
from crosscam.data.datasets.readers import read_dataset
from crosscam.data.datasets.unlabeled import read_images
from crosscam.data.records import ReidDataset
from crosscam.data.synthetic.dataset import render_dataset
from crosscam.data.text_files import read_text
from crosscam.errors import CrosscamError, DataError, UnusedOptionError
from crosscam.experiments.demonstration import TRACKS, VIDEOS, demonstrate, demonstrate_videos
from crosscam.experiments.experiment import REPORT
from crosscam.experiments.photographs import CALIBRATION, SHOWN, Searched, search_photographs
from crosscam.inference.extractor import Extractor
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.settings import with_settings
from crosscam.shipped import run_folder
from crosscam.system.distributed import num_processes
from crosscam.system.files import check_folder, folder_in_place, write_atomically
from crosscam.system.locks import only_writer
from crosscam.system.text import counted, parse_json, printable

MINI = Path("rrid-mini")
SHOWN_PAIRS = 5
# Which folder of images the results in a folder are of.
SOURCE = "photos.json"
Source = dict[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Draw people, train a small network, score it, and find one of them in a gallery.

    With --photos: no training. Your own person images are examined, described by the network that comes with
    crosscam and kept in a gallery; a page shows the most similar pairs across cameras.
    """

    out: Unset[Path] = None
    """Folder for all that is made; runs/demo by default, runs/photos-NAME for --photos NAME. A second call
    goes on where it stopped."""
    ids: int = 300
    """Identities to draw, test identities included. A shorter road: --ids 120 --set data.height=64 --set
    data.width=32, a tenth of the arithmetic."""
    set: Settings = ()
    """Change a setting of the recipe, for example --set train.epochs=5; may be given several times."""
    photos: Unset[Path] = None
    """Your own images, one person on each: a folder, or a table path[,camera,time,track]."""
    camids: Unset[str] = None
    """With --photos: a regular expression with one group that finds the camera in a file name; with a slash in it, in
    the path below the folder. By default _c1, _c2, ... in the file names, or else a folder for each camera."""
    pairs: Unset[int] = None
    """With --photos: most pairs of either kind on the page; 48 by default."""
    general: General = field(default_factory=General)

    def run(self) -> None:
        if num_processes() > 1:
            raise CrosscamError(
                "The demo works in one process. torchrun is for 'crosscam train', 'evaluate' and 'extract'."
            )
        if self.pairs is not None and self.pairs < 1:
            raise CrosscamError(f"--pairs is {self.pairs}. Expected at least 1.")
        check_folder(self.out or Path("runs"))
        if self.photos is not None:
            if self.set:
                raise CrosscamError("--set changes a training, and --photos trains nothing. Leave one of them out.")
            if self.ids != Demo.ids:
                raise CrosscamError("--ids draws people, and --photos draws no people. Leave one of them out.")
            out = self.out or Path("runs") / f"photos-{self.photos.resolve().name}"
            check_folder(out)
            source = {"folder": printable(str(self.photos.resolve())), "camids": self.camids}
            # Before the images are looked at; under the lock once more, for another call may have been first.
            _refuse_another_source(out, source)
            images = self._read_photos(self.photos)
            with only_writer(out, folder=True):
                self._search_photos(images, out, source)
        else:
            if self.camids is not None:
                raise CrosscamError("--camids tells the cameras of --photos. Give both, or none.")
            if self.pairs is not None:
                raise CrosscamError("--pairs is about the page of --photos. Give both, or none.")
            out = self.out or Path("runs/demo")
            with only_writer(out, folder=True):
                self._learn_drawn(out)

    def _read_photos(self, photos: Path) -> ReidDataset:
        try:
            return read_images(photos, camids=self.camids)
        except UnusedOptionError as error:
            raise CrosscamError(f"{flag(error.option)} {error.told}") from error

    def _search_photos(self, images: ReidDataset, out: Path, source: Source) -> None:
        _refuse_another_source(out, source)
        write_atomically(out / SOURCE, json.dumps(source) + "\n")
        extractor = Extractor.load(MINI)
        kept = run_folder(MINI) / CALIBRATION
        calibration = Calibration.from_json(read_text(kept)) if kept.is_file() else None
        with bars(self.general.json) as progress:
            shown = search_photographs(
                images.gallery,
                MINI,
                extractor,
                out,
                shown=self.pairs or SHOWN,
                calibration=calibration,
                notes=images.notes,
                progress=counting(progress, "describing"),
                found=lambda searched: self._show(searched, images.notes),
            )
        if not self.general.json:
            likely = sum(pair.stands_out for pair in shown.pairs)
            say(
                f"Open {shown.page} in a browser: {counted(likely, 'pair is')} likely the same person, "
                f"{counted(len(shown.pairs) - likely, 'look-alike')}."
            )
            if sum(shown.left_out):
                left = f"{sum(shown.left_out):,} more pairs are not on the page"
                say(f"{left}; --pairs {shown.most_of_a_kind} shows all.")
            say(f"To search it yourself: {pasteable('serve', '--gallery', shown.gallery, '--model', MINI)}")
        if shown.damaged:  # as extract ends: what can be done is done, and the status tells of the rest
            raise DataError(
                f"{len(shown.damaged):,} of {counted(len(images.gallery), 'image')} cannot be read; the others are in "
                f"{shown.gallery}. First: {shown.damaged[0][1]}"
            )

    def _show(self, shown: Searched, notes: Sequence[str]) -> None:
        """What was found, whatever becomes of the page."""
        if self.general.json:
            nearest = [
                {"first": p.first.path, "second": p.second.path, "distance": p.distance, "verdict": p.verdict}
                for p in shown.pairs
            ]
            damaged = [{"path": str(path), "fault": fault} for path, fault in shown.damaged]
            page, gallery = str(shown.page), str(shown.gallery)
            show_json(
                {"gallery": gallery, "entries": shown.entries, "damaged": damaged, "page": page, "pairs": nearest}
            )
            return
        tell_notes(notes)
        for finding in shown.findings:
            say(f"{finding.severity}: {finding.what} {' '.join(finding.examples)} {finding.cure}")
        across = " across cameras" if shown.cameras > 1 else ""
        say(f"{shown.gallery} holds {counted(shown.entries, 'image')}. The most similar pairs{across}:")
        names = [
            (f"{p.distance:.3f}", p.verdict, Path(p.first.path).name, Path(p.second.path).name)
            for p in shown.pairs[:SHOWN_PAIRS]
        ]
        listing(("distance", "verdict", "image", "other image"), names)

    def _learn_drawn(self, out: Path) -> None:
        recipe = with_settings(find_recipe("demo"), self.set, once=True)
        dataset = self._people(out)
        scores = run_shown(recipe, dataset, out, resume=True, json=self.general.json)
        trained, *before, pixels = (score.result.mAP for score in scores)
        shown = demonstrate(out, dataset)
        if self.general.json:
            return
        went = f"went from {100 * before[0]:.1f} % to" if before else "is"
        say(
            f"mAP {went} {100 * trained:.1f} % on people that the network never saw. "
            f"Open {out / REPORT} in a browser to see whom it finds."
        )
        if trained <= pixels:
            say(
                "warning: This training was too short to learn: raw pixels, without any network, get "
                f"{100 * pixels:.1f} %. Draw more people (--ids) or train for more epochs (--set train.epochs=...)."
            )
        nearest = shown.hits[0]
        say(
            f"{shown.gallery} holds {shown.entries:,} of their images. {shown.query.path.name} was searched for at "
            f"other cameras: {shown.num_right} of the first {len(shown.hits)} show the same one ({shown.hits_page}). "
            f"The nearest, {Path(nearest.entry.path).name}, is at {nearest.distance:.3f}; {shown.pair_page} says why."
        )
        say(f"To search it yourself: {pasteable('serve', '--gallery', shown.gallery, '--model', out)}")
        journeys = demonstrate_videos(out)
        say(
            f"Two drawn videos ({out / VIDEOS}) were watched, the true boxes in place of a detector, and their tracks "
            f"linked to people: multi-camera IDF1 {100 * journeys.idf1:.1f} %. To see who went where: "
            f"{pasteable('serve', '--gallery', out / TRACKS, '--model', out)}"
        )

    def _people(self, out: Path) -> ReidDataset:
        """The drawn dataset; half a one, left by a kill, is drawn again."""
        data = out / "people"
        if not data.exists():
            with folder_in_place(data) as part, bars(self.general.json) as progress:
                drawn = counting(progress, "drawing people")
                render_dataset(
                    part, ids=self.ids, cameras=4, images=4, collide=0.3, seed=0, test_share=0.2, progress=drawn
                )
        dataset = read_dataset(data)
        found = len({s.pid for samples in dataset.subsets.values() for s in samples if s.pid > 0})
        if found != self.ids:
            raise DataError(
                f"{data} holds {counted(found, 'person')}, not {self.ids}. Choose another folder with "
                f"--out, or --ids {found}."
            )
        return dataset


def _refuse_another_source(out: Path, wanted: Source) -> None:
    """Refuse (DataError) a folder of other images or cameras: camera 1 of one is not camera 1 of the other."""
    source = out / SOURCE
    if source.is_file():
        try:
            found = parse_json(read_text(source))
            folder, rule = found["folder"], found["camids"]
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{source} is damaged ({error}). Choose another place with --out.") from error
        if found != wanted:
            cameras = f" with --camids {rule}" if rule else ""
            raise DataError(f"{out} holds what was found in {folder}{cameras}. Choose another place with --out.")
