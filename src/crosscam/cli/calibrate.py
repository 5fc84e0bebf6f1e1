"""``crosscam calibrate``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tyro.conf import Positional

from crosscam.calibration.calibration import Calibration, Origin, Thresholds
from crosscam.calibration.fitting import calibrate, check_calibration, images_to_calibrate
from crosscam.calibration.open_set import OperatingPoint
from crosscam.cli.options import General, Reading, Unset, output_of
from crosscam.cli.show import bars, counting, print_plain, say, show_text, table
from crosscam.data.records import camids_of, pids_of
from crosscam.data.text_files import read_text
from crosscam.errors import CrosscamError, DataError
from crosscam.gallery import open_gallery
from crosscam.gallery.calibrated import CALIBRATION, of_gallery
from crosscam.gallery.source_network import matching_extractor
from crosscam.inference.extractor import Extractor
from crosscam.recipes.checkpoint import PROVENANCE
from crosscam.shipped import run_folder
from crosscam.system.cores import best_device
from crosscam.system.files import check_file, write_atomically
from crosscam.system.locks import only_writer
from crosscam.system.text import parse_json
from crosscam.training.trained_on import load_trained_on, overlap

SHOWN_CAMERA_PAIRS = 12
# The protocol of datasets that can be tested as a whole.
EVERYBODY = "all"


@dataclass(frozen=True, kw_only=True)
class Calibrate:
    """Learn from labeled images which distance means the same person."""

    run_folder: Positional[Path]
    """Run folder with the trained network; rrid-mini, which comes with crosscam; or a network of import-network."""
    data: Path
    """Folder or table of labeled images of people that the network was not trained on; for example a folder for
    each camera, in it a folder for each person."""
    gallery: Unset[str] = None
    """Gallery to keep the calibration with; its searches then say same, unsure or other."""
    fmr: float = 1e-3
    """Wanted share of pairs of different people that are called "same"."""
    fnmr: float = 0.05
    """Wanted share of pairs of one person that are called "other"."""
    prior: float = 0.01
    """Probabilities: share of images that show the person, before any is looked at."""
    no_flip: bool = False
    """Leave mirror images out; with --gallery it is done as the gallery was built."""
    out: Unset[Path] = None
    """JSON file to write; calibration.json in the run folder by default."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        out = self.out or output_of(self.run_folder, "calibration.json")
        check_file(out)
        if self.gallery is None:
            extractor = Extractor.load(self.run_folder, flip=False if self.no_flip else None, device=best_device())
        else:
            # For writing, as it will be: a gallery that cannot be written is told of now.
            with open_gallery(self.gallery, write=True) as gallery:
                extractor = matching_extractor(gallery, self.run_folder, best_device())
        dataset = self.reading.read_and_note(self.data)
        samples, which = images_to_calibrate(dataset, _trained_on(self.run_folder))
        say(f"note: calibrating on {which}: {len(samples):,} images. Their people must not have been trained on.")
        labels = pids_of(samples), camids_of(samples)
        try:
            check_calibration(dataset.name, *labels, fmr=self.fmr, fnmr=self.fnmr, prior=self.prior)
        except DataError as error:
            raise DataError(f"{error}{self._more_images()}") from error
        with only_writer(out), bars(self.general.json) as progress:
            shared = overlap(
                load_trained_on(self.run_folder),
                replace(dataset, train=(), query=samples, gallery=()),
                counting(progress, "looking for people of the training"),
            )
            if shared.pids:
                say(
                    f"warning: {len(shared.pids):,} of the {shared.tested_people:,} people trained this network, which "
                    "knows them better than others: these thresholds let through more, and miss more, elsewhere. Leave "
                    "them out, or calibrate on other people."
                )
            descriptors = extractor.files([s.path for s in samples], counting(progress, "describing"))
        origin = Origin(dataset.name, dataset.fingerprint(), extractor.fingerprint, extractor.flip)
        found = calibrate(descriptors, *labels, origin, fmr=self.fmr, fnmr=self.fnmr, prior=self.prior)
        # What was computed is shown, whatever becomes of the file.
        names = {s.camid: s.camera for s in samples if s.camera is not None}
        if self.general.json:
            show_text(found.to_json())
        else:
            _show(found, names)
        write_atomically(out, found.to_json())
        if self.gallery is not None:
            with open_gallery(self.gallery, write=True) as gallery:
                kept = of_gallery(found, names, gallery.camera_names())
                gallery.set_document(CALIBRATION, json.loads(kept.to_json()))
        if not self.general.json:
            say(f"Written to {out}{f' and kept with {self.gallery}' if self.gallery else ''}.")

    def _more_images(self) -> str:
        """The hint that a protocol with everybody tested is enough, where the dataset has one; else nothing."""
        if self.reading.protocol is not None:
            return ""
        with suppress(CrosscamError):
            every = replace(self.reading, protocol=EVERYBODY).read(self.data)
            samples, _ = images_to_calibrate(every)
            labels = pids_of(samples), camids_of(samples)
            check_calibration(every.name, *labels, fmr=self.fmr, fnmr=self.fnmr, prior=self.prior)
            return f" Or give --protocol {EVERYBODY}: all {len(samples):,} images are enough."
        return ""


def _trained_on(source: Path) -> str | None:
    """Fingerprint of the data that a network was trained on, where the run folder tells."""
    file = run_folder(source) / PROVENANCE
    if not file.is_file():
        return None
    try:
        value = parse_json(read_text(file))["data"]["fingerprint"]
    except (ValueError, LookupError, TypeError):
        return None
    return str(value)


def _show(found: Calibration, names: Mapping[int, str]) -> None:
    rows = [_threshold_row("different cameras", found.pooled)]
    if found.within:
        rows.append(_threshold_row("one camera", found.within))
    for entry in found.cameras[:SHOWN_CAMERA_PAIRS]:
        a, b = entry.camids
        first, second = (names.get(camid, str(camid)) for camid in (a, b))
        rows.append(_threshold_row(f"camera {first}" if a == b else f"cameras {first} and {second}", entry.thresholds))
    head = ("pairs", "same below", "other from", "# of one person", "# of two people")
    table(head, rows, "Distances")
    if len(found.cameras) > SHOWN_CAMERA_PAIRS:
        print_plain(f"and {len(found.cameras) - SHOWN_CAMERA_PAIRS:,} more camera pairs in the file.")
    table(
        ("let through (FMR)", "distance", "missed (FNMR)", "95 % interval"),
        [_open_set_row(point) for point in found.open_set],
        "Across cameras, one threshold for all",
    )
    for sentence in (found.rests_on(), *found.notes):
        print_plain(sentence)


def _threshold_row(name: str, limits: Thresholds) -> tuple[str, ...]:
    return name, f"{limits.same:.3f}", f"{limits.other:.3f}", f"{limits.genuine:,}", f"{limits.impostor:,}"


def _open_set_row(point: OperatingPoint) -> tuple[str, ...]:
    rate = f"{100 * point.fmr:.4g} %"
    if point.threshold is None or point.fnmr is None or point.low is None or point.high is None:
        return rate, "-", point.note, "-"
    return (
        rate,
        f"{point.threshold:.3f}",
        f"{100 * point.fnmr:.1f} %",
        f"{100 * point.low:.1f} to {100 * point.high:.1f} %",
    )
