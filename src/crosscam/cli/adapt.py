"""``crosscam adapt``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tyro.conf import Positional

from crosscam.adaptation.outcome import PAGE
from crosscam.cli.options import General, Reading, Settings, Unset
from crosscam.cli.show import bars, print_plain, say, show_json, training_listeners
from crosscam.experiments.adapting import recipe_for, run_adaptation
from crosscam.system.files import check_folder
from crosscam.system.text import counted
from crosscam.training.callbacks import Listeners


@dataclass(frozen=True, kw_only=True)
class Adapt:
    """Fit a trained network to your cameras by images without labels.

    Images that look alike become clusters, which are renewed before each epoch and learned like people.
    """

    run_folder: Positional[Path]
    """Run folder with the trained network, or rrid-mini, which comes with crosscam."""
    data: Path
    """Folder or table of images; cameras, tracks and times count, identities are not looked at."""
    labeled: Unset[Path] = None
    """Dataset whose query and gallery are scored before and after; nothing is learned from them."""
    out: Unset[Path] = None
    """Run folder to write; runs/NAME-adapted by default."""
    set: Settings = ()
    """Change a setting, for example --set adapt.eps=0.4 or --set train.epochs=5; may be given several times."""
    resume: bool = False
    """Go on with the adaptation in the run folder, or begin it if there is none yet."""
    reading: Reading = field(default_factory=Reading)
    general: General = field(default_factory=General)

    def run(self) -> None:
        recipe = recipe_for(self.run_folder, self.set)
        out = self.out or Path("runs") / recipe.name
        check_folder(out)
        dataset = self.reading.read_and_note(self.data, images=True)
        labeled = None
        if self.labeled is not None:
            # The options of reading are the data's; a labeled dataset elsewhere is recognized.
            same = self.labeled.resolve() == self.data.resolve()
            labeled = (self.reading if same else Reading()).read(self.labeled)
        with bars(self.general.json) as progress:
            listeners = _with_clusters(training_listeners(progress, self.general.json), self.general.json)
            outcome = run_adaptation(
                self.run_folder, recipe, dataset, out, labeled=labeled, resume=self.resume, listeners=listeners
            )
        if self.general.json:
            show_json({"folder": str(out), **asdict(outcome)})
            return
        print_plain(outcome.sentence())
        say(f"The network and {PAGE} are in {out}.")


def _with_clusters(listeners: Listeners, quiet: bool) -> Listeners:
    """The same listeners, with a line about each epoch's clusters."""

    def epoch(record: Mapping[str, float]) -> None:
        if quiet:
            return
        further = "".join(f"  {name} {record[name]:.2f}" for name in ("agreement", "silhouette") if name in record)
        say(
            f"epoch {record['epoch']:3.0f}  loss {record['loss']:8.3f}  {record['images_per_second']:5.0f} images/s  "
            f"{counted(int(record['clusters']), 'cluster')} of {record['mean_size']:.1f} images, "
            f"{100 * record['unclustered']:.0f} % in none{further}"
        )

    return replace(listeners, epoch=epoch)
