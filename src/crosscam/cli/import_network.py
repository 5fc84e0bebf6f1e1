"""``crosscam import-network``."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from tyro.conf import Positional

from crosscam.cli.options import General, Reading, Unset
from crosscam.cli.show import bars, counting, say, show_json, table
from crosscam.data.network_input import NetworkInput
from crosscam.errors import ArgumentError, EngineError
from crosscam.inference.engines.network_file import (
    FAMILIES,
    copy_network,
    declare,
    input_of_family,
    write_declaration,
)
from crosscam.inference.engines.network_runtimes import TORCHSCRIPT
from crosscam.inference.extractor import Extractor
from crosscam.inference.imported import Imported, open_declared
from crosscam.inference.network_check import (
    Agreement,
    best_reading,
    check_rows,
    compare_readings,
    images_to_check,
    indistinguishable,
)
from crosscam.recipes.checkpoint import RECIPE
from crosscam.system.files import check_folder
from crosscam.training.fast_reid import BOTS, import_fast_reid
from crosscam.training.torchreid import OSNETS, import_torchreid

# Names that files of weights alone have.
WEIGHTS = (".pth", ".pt", ".tar", ".safetensors")


@dataclass(frozen=True, kw_only=True)
class ImportNetwork:
    """Declare what a network from elsewhere takes, so that every command can use it.

    Writes network.json beside the file, or into the folder of --out with a copy of the file.
    """

    file: Positional[Path]
    """An .onnx file, an .xml file of OpenVINO's with its .bin, or TorchScript; with --family osnet_x1_0 or
    bot_resnet50, the .pth or .safetensors file of a torchreid or fast-reid model."""
    input: Unset[str] = None
    """What it takes: order of colors, height x width, scale (255, 1, imagenet), for example 'rgb 256x128 imagenet';
    then mean=..., std=... and the resize (bicubic, opencv) where they differ. Known models need none."""
    family: Unset[str] = None
    """A known network: person-reidentification-retail-0277, 0286 or 0287, person_reid_youtu_2021nov or
    resnet50_market1501_aicity156 (by itself where the file has that name); or osnet_x1_0, osnet_x0_75, osnet_x0_5,
    osnet_x0_25, osnet_ibn_x1_0, osnet_ain_x1_0 (also ..._x0_75, _x0_5, _x0_25), bot_resnet50, bot_resnet50_ibn or
    bot_resnet101, whose weights become a run folder."""
    out: Unset[Path] = None
    """Folder for a copy of the file and its network.json; for weights, the run folder. Beside the file by default."""
    check: Unset[Path] = None
    """Images of people, labeled or not: try the other orders and scales, too; write nothing if one fits better."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        if self.check is None and self.reading != Reading():
            raise ArgumentError("The options of reading are for --check. Give --check PICTURES, or leave them out.")
        if self.out is not None:
            check_folder(self.out)
        if self.family in (*OSNETS, *BOTS):
            self._import_weights(self.family)
            return
        folder = self.out or self.file.parent
        if (folder / RECIPE).is_file():
            raise EngineError(f"{folder} is a run folder. Give another folder with --out.")
        found = self._opened()
        check_rows(found.network)
        checked = None if self.check is None else self._checked(found, self.check)
        if checked is not None:
            self._show(checked)
            _refuse_worse(checked)
        assert found.declared is not None
        declared = found.declared
        if self.out is not None and self.out.resolve() != self.file.parent.resolve():
            declared = declare(copy_network(self.file, self.out), declared.takes, declared.output)
        place = write_declaration(declared, version("crosscam"))
        self._tell(found, place, checked)

    def _opened(self) -> Imported:
        try:
            return open_declared(declare(self.file, self._takes()))
        except EngineError as error:
            if self.family is None and self.file.suffix.lower() in WEIGHTS:
                raise EngineError(f"{error} Weights of torchreid's OSNet or fast-reid's BoT take --family.") from error
            raise

    def _takes(self) -> NetworkInput:
        known = input_of_family(self.file, self.family, (*OSNETS, *BOTS))
        if self.family is not None and self.input is not None:
            raise ArgumentError(f"--family {self.family} says what the file takes. Give --family, or --input.")
        if self.input is not None:
            return NetworkInput.parse(self.input)
        if known is None:
            raise ArgumentError(
                f"What {self.file} takes is not known. Give --input, for example --input 'rgb 256x128 imagenet', or "
                f"--family for {', '.join(FAMILIES)}."
            )
        return known

    def _checked(self, found: Imported, images: Path) -> list[Agreement]:
        labeled = not self.reading.is_unlabeled(images)
        dataset = self.reading.read_and_note(images, images=True)
        samples = [s for subset in dataset.subsets.values() for s in subset]
        chosen = images_to_check(samples, labeled=labeled)
        pixels = Extractor.of_imported(found).decoded([s.path for s in chosen])
        pids = [s.pid for s in chosen] if labeled else None
        with bars(self.general.json) as progress:
            return compare_readings(found.network, pixels, pids, counting(progress, "readings"))

    def _show(self, checked: list[Agreement]) -> None:
        if self.general.json:
            return
        rows = [
            (
                str(one.takes) + (" (declared)" if place == 0 else ""),
                f"{one.margin:.3f}",
                "-" if one.mean_ap is None else f"{100 * one.mean_ap:.1f} %",
            )
            for place, one in enumerate(checked)
        ]
        table(("read as", "mirror agreement", "mAP"), rows, f"Readings, on {len(checked[0].margins)} images")

    def _tell(self, found: Imported, place: Path, checked: list[Agreement] | None) -> None:
        card, network = found.card, found.network
        alike = [] if checked is None else indistinguishable(checked, checked[0])
        if self.general.json:
            readings = [{"input": str(c.takes), "mirror": c.margin, "mAP": c.mean_ap} for c in checked or ()]
            value = {"out": str(place), "input": str(network.takes), "numbers": card.dim, "output": network.output}
            show_json({**value, "fingerprint": card.fingerprint, "readings": readings})
        else:
            say(
                f"{place} written: {self.file.name} gives {card.dim:,} numbers for '{network.takes}'; fingerprint "
                f"{card.fingerprint}."
            )
        if checked is not None:
            other = (
                f" These images do not tell it from {' or '.join(repr(str(a.takes)) for a in alike)}." if alike else ""
            )
            say(f"note: No other reading fits better.{other}")
        if len(network.outputs) > 1:
            say(f"note: Of the outputs {', '.join(network.outputs)}, {network.output} is taken.")
        if self.file.suffix.lower() in TORCHSCRIPT:
            say(
                "warning: A TorchScript file is a program: opening it runs no Python, but its steps can read and write "
                "files. Open only files whose source you trust."
            )

    def _import_weights(self, family: str) -> None:
        if self.out is None or self.input is not None or self.check is not None:
            raise ArgumentError(
                f"--family {family} takes --out, the run folder to write, and neither --input nor --check."
            )
        (import_torchreid if family in OSNETS else import_fast_reid)(self.file, family, self.out)
        self.general.tell(
            {"out": str(self.out), "family": family},
            f"Imported {family} into the run folder {self.out}; it takes images of 256 x 128.",
        )


def _refuse_worse(checked: list[Agreement]) -> None:
    """Refuse a declared reading where another one is clearly better."""
    better = best_reading(checked)
    if better is None:
        return
    declared = checked[0]
    figures = [f"mirror agreement {better.margin:.3f} instead of {declared.margin:.3f}"]
    if better.mean_ap is not None and declared.mean_ap is not None:
        figures.append(f"mAP {100 * better.mean_ap:.1f} instead of {100 * declared.mean_ap:.1f} %")
    raise EngineError(
        f"Read as '{better.takes}', these {len(declared.margins)} images are told apart better than as "
        f"'{declared.takes}': {', '.join(figures)}. Nothing was written. Give --input '{better.takes}', or leave "
        "--check out to keep yours."
    )
