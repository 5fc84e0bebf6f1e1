"""``crosscam export``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from crosscam.cli.options import General, Reading, Unset, output_of
from crosscam.cli.show import say, show_json, table
from crosscam.data.datasets.unlabeled import find_images
from crosscam.data.records import ReidDataset
from crosscam.errors import DataError
from crosscam.inference.engines.base import ModelCard
from crosscam.inference.exporting import MOST_LOST_MAP, SUFFIXES, Format, export_model
from crosscam.inference.extractor import Extractor
from crosscam.system.files import check_file

MOST_BATCH = 65_536


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a network as one file: uint8 images in, descriptors out.

    It is compared with torch before it is kept.
    """

    run_folder: Positional[Path]
    """Run folder with the trained network, or rrid-mini, which comes with crosscam."""
    format: Format = "onnx"
    """onnx (runs with ONNX Runtime or OpenVINO), or openvino (an .xml file with a .bin beside it)."""
    out: Unset[Path] = None
    """File to write; RUN-FOLDER/model.onnx or model.xml by default, model-int8 with --int8."""
    int8: bool = False
    """Convolutions in 8 bits, with ranges from images of --calibration or of the dataset's training subset."""
    batch: str = "dynamic"
    """Images that the file takes at once: a number, or dynamic for any."""
    no_flip: bool = False
    """Leave mirror images out: half the work for a somewhat worse descriptor."""
    data: Unset[Path] = None
    """Dataset on whose query and gallery the change of mAP is measured."""
    calibration: Unset[Path] = None
    """Images for --int8: a folder or a table."""
    max_drop: float = MOST_LOST_MAP
    """mAP that may be lost, as a fraction; a file that loses more is not written."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        batch = self._batch()
        if not 0 <= self.max_drop <= 1:
            raise DataError(f"--max-drop is {self.max_drop}: expected a fraction of mAP, from 0 to 1.")
        if self.data is None and (self.max_drop != MOST_LOST_MAP or self.reading != Reading()):
            raise DataError(
                "--max-drop and the options of reading are for --data. Give --data DATA, or leave them out."
            )
        if self.calibration is not None and not self.int8:
            raise DataError("--calibration gives the ranges of --int8. Add --int8, or leave it out.")
        suffix = SUFFIXES[self.format]
        out = self.out or output_of(self.run_folder, f"model{'-int8' if self.int8 else ''}{suffix}")
        if out.suffix != suffix:
            raise DataError(f"{out} cannot be written. Expected a name that ends in {suffix}, or another --format.")
        check_file(out)
        dataset = self._dataset()
        extractor = Extractor.load(self.run_folder, flip=False if self.no_flip else None)
        card = export_model(
            extractor,
            out,
            int8=self.int8,
            batch=batch,
            dataset=dataset,
            int8_images=find_images(self.calibration)[0] if self.calibration else None,
            most_lost=self.max_drop,
            compared=lambda card: self._show(card, out),
        )
        if self.general.json:
            return
        mirrored = "with" if card.flip else "without"
        say(f"{out} written: {card.precision}, {mirrored} the mirror pass, fingerprint {card.fingerprint}.")

    def _dataset(self) -> ReidDataset | None:
        """The dataset of --data; DataError where nothing of it would count."""
        if self.data is None:
            return None
        dataset = self.reading.read_and_note(self.data)
        if not (dataset.query and dataset.gallery):
            if not self.int8 or self.calibration is not None or self.max_drop != MOST_LOST_MAP:
                raise DataError(
                    f"{self.data} has no query and gallery, on which mAP could be measured. 'crosscam data holdout' "
                    "cuts them out of training identities; or leave --data and --max-drop out."
                )
            say(f"note: {self.data} has no query and gallery: it gives the ranges of --int8, and mAP is not measured.")
        return dataset

    def _show(self, card: ModelCard, out: Path) -> None:
        """What was measured, whatever becomes of the file."""
        if self.general.json:
            show_json({"out": str(out), "fingerprint": card.fingerprint, "precision": card.precision, **card.checks})
            return
        rows = [
            (name, f"{value:.5f}" if isinstance(value, float) else str(value)) for name, value in card.checks.items()
        ]
        table(("compared with torch", ""), rows, numbers=False)

    def _batch(self) -> int | None:
        if self.batch == "dynamic":
            return None
        # Nine digits are more than any memory takes, and Python refuses to read thousands.
        number = int(self.batch[:9]) if self.batch.isascii() and self.batch.isdigit() else 0
        if not 1 <= number <= MOST_BATCH:
            raise DataError(
                f"--batch {self.batch[:20]}: expected a number of images, at most {MOST_BATCH:,}, or dynamic."
            )
        return number
