"""What came of an adaptation: its clusters epoch by epoch and its scores, as JSON and as a page to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crosscam.data.records import ReidDataset
from crosscam.data.text_files import read_text
from crosscam.errors import DataError
from crosscam.recipes.checkpoint import write_atomically
from crosscam.system.text import counted, parse_json

JSON, PAGE = "adapt.json", "adapt.md"
Scores = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What an adaptation did so far.

    Attributes:
        source, data: what it started from, as provenance tells it, and what it learned from.
        settings: all of them, by dotted name.
        notes: what was decided about the data.
        epochs: a record of each, as in ``metrics.jsonl``, with the clusters it was learned from.
        before, after: scores with their protocol; None without labels to score by, or not yet.
    """

    source: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    notes: Sequence[str]
    epochs: Sequence[Mapping[str, float]]
    before: Scores | None = None
    after: Scores | None = None

    def page(self) -> str:
        """The same as Markdown, short."""
        lines = [
            f"# {self.source['name']}, adapted to {self.data['name']}",
            "",
            f"{self.data['pictures']:,} images without labels, {counted(self.data['cameras'], 'camera')}, "
            f"{counted(self.data['tracks'], 'track')} (fingerprint {self.data['fingerprint']}); "
            f"from {self.source['name']} (weights {self.source['fingerprint']}).",
            "",
            *(f"- {note}" for note in self.notes),
            *([""] if self.notes else []),
            *_epoch_table(self.epochs),
        ]
        if self.before is not None:
            lines += ["", *_score_table(self.before, self.after)]
        return "\n".join(lines) + "\n"

    def sentence(self) -> str:
        """The last epoch and the scores, in one line."""
        last = self.epochs[-1]
        said = f"{last['clusters']:,.0f} clusters in the last epoch, {100 * last['unclustered']:.0f} % of the images"
        said += " in none"
        if "agreement" in last:
            said += f", {last['agreement']:.2f} agreement with the epoch before"
        if self.before is not None and self.after is not None:
            changes = (f"{name} {100 * self.before[key]:.1f} to {100 * self.after[key]:.1f} %" for name, key in _SCORES)
            return f"{said}. {', '.join(changes)}."
        return f"{said}. Whether people are found better is not known without labels to score by (--labeled)."


_SCORES = (("mAP", "mAP"), ("rank-1", "rank1"))
_COLUMNS = (
    ("clusters", "clusters", "{:,.0f}"),
    ("in none", "unclustered", "{:.1%}"),
    ("mean size", "mean_size", "{:.1f}"),
    ("agreement", "agreement", "{:.3f}"),
    ("silhouette of tracks", "silhouette", "{:.3f}"),
    ("loss", "loss", "{:.3f}"),
)


def _epoch_table(epochs: Sequence[Mapping[str, float]]) -> list[str]:
    columns = [c for c in _COLUMNS if any(c[1] in record for record in epochs)]
    lines = [f"| epoch | {' | '.join(c[0] for c in columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    for record in epochs:
        cells = (form.format(record[key]) if key in record else "" for _, key, form in columns)
        lines.append(f"| {record['epoch']:.0f} | {' | '.join(cells)} |")
    return lines


def _score_table(before: Scores, after: Scores | None) -> list[str]:
    lines = ["| % | before | after |", "|---|---|---|"]
    for name, key in _SCORES:
        then = "" if after is None else f"{100 * after[key]:.1f}"
        lines.append(f"| {name} | {100 * before[key]:.1f} | {then} |")
    return [*lines, "", f"{counted(before['num_queries'], 'query')}, data {before['data_fingerprint']}."]


def data_of(dataset: ReidDataset) -> dict[str, Any]:
    """What is told of the images that are learned."""
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "pictures": len(dataset.train),
        "cameras": len({s.camid for s in dataset.train}),
        "tracks": len({(s.camid, s.track) for s in dataset.train if s.track is not None}),
    }


def save_outcome(folder: Path, outcome: Outcome) -> None:
    """Write ``adapt.json`` and ``adapt.md``."""
    write_atomically(folder / JSON, json.dumps(asdict(outcome), indent=2) + "\n")
    write_atomically(folder / PAGE, outcome.page())


def known_scores(
    folder: Path, source_fingerprint: str, labeled: ReidDataset | None
) -> tuple[Scores | None, Scores | None]:
    """The scores before and after an adaptation that is resumed; None where they are not known or of something else."""
    try:
        value = parse_json(read_text(folder / JSON))
        before: Scores = value["before"]
        after: Scores | None = value["after"]
        same = value["source"]["fingerprint"] == source_fingerprint
        # Without labels nothing is scored anew, and what was scored stays.
        same = same and (labeled is None or before["data_fingerprint"] == labeled.fingerprint())
    except (DataError, ValueError, LookupError, TypeError):
        return None, None
    return (before, after) if same else (None, None)
