"""``crosscam gallery search``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Fixed, Positional, Suppress, arg

from crosscam.calibration.calibration import Verdict
from crosscam.cli.gallery_options import Choosing, Place, extractor_of
from crosscam.cli.options import General, Unset
from crosscam.cli.show import listing, say, show_json
from crosscam.data.images import decode_image
from crosscam.data.walk import is_image_name
from crosscam.errors import ArgumentError, CrosscamError
from crosscam.gallery.calibrated import verdicts_of
from crosscam.gallery.conditions import unknown_in
from crosscam.gallery.entries import EVERYTHING, Hit, Where, unit_mean
from crosscam.gallery.filling import make_thumbnail
from crosscam.gallery.interface import Gallery
from crosscam.gallery.local import open_gallery
from crosscam.gallery.searching import SearchOptions
from crosscam.report.hits import Likelihood, when, write_hits
from crosscam.retrieval.contributions import block_weights, parse_weights
from crosscam.system.files import check_file


@dataclass(frozen=True, kw_only=True)
class Ranking(SearchOptions):
    """How hits are ranked."""

    where: Suppress[Fixed[Where]] = EVERYTHING
    weights: Suppress[Fixed[Mapping[str, float] | None]] = None
    k: Annotated[int, arg(name="limit", aliases=("--k",))] = 20
    """Hits to show; fewer only where the conditions leave fewer."""
    rerank_first: Annotated[int, arg(name="rerank")] = 0

    def __post_init__(self) -> None:
        for option, value, least in (("--limit", self.k, 1), ("--rerank", self.rerank_first, 0)):
            if value < least:
                raise ArgumentError(f"{option} is {value}. Expected {least} or more.")


@dataclass(frozen=True, kw_only=True)
class Search:
    """Find the entries nearest to images."""

    gallery: Place
    sources: Annotated[Positional[tuple[Path, ...]], arg(metavar="[RUN-FOLDER] IMAGE...", help_behavior_hint="")]
    """Images of the one to find; several of one person are one query, the mean of their descriptors. RUN-FOLDER is
    the gallery's model, if it is not where it was when the gallery was made."""
    parts: Unset[str] = None
    """Weights of body parts, such as torso=2,feet=0: head, torso, legs, feet, whole, or blocks by name or pattern."""
    html: Unset[Path] = None
    """Also write the hits as a page with their images."""
    ranking: Ranking = field(default_factory=Ranking)
    choosing: Choosing = field(default_factory=Choosing)
    general: General = field(default_factory=General)

    def run(self) -> None:
        given = [path for path in self.sources[:1] if not is_image_name(path.name)]
        files = self.sources[len(given) :]
        if not files:
            raise CrosscamError("No image to search for. Give at least one after the run folder.")
        weights = parse_weights(self.parts) if self.parts else None
        check_file(self.html)
        images = [decode_image(path) for path in files]
        with open_gallery(self.gallery) as gallery:
            block_weights(weights, gallery.layout)
            options = replace(self.ranking, where=self.choosing.where(gallery), weights=weights)
            query = unit_mean(extractor_of(gallery, self.gallery, given)(images, names=files))
            (hits,) = gallery.search(query, options, model=gallery.model.fingerprint)
            calibration, rests_on = verdicts_of(gallery, options)
            # Nobody says which camera took the query.
            verdicts: list[Likelihood] = [(None, None)] * len(hits)
            if calibration:
                verdicts = [
                    (calibration.verdict(hit.distance, None, hit.entry.camid), calibration.probability(hit.distance))
                    for hit in hits
                ]
            note = unknown_in(gallery, options.where)
            if note:
                say(f"note: {note}")
            self._show(gallery, hits, [verdict for verdict, _ in verdicts], rests_on)
            if self.html:
                ids = [hit.entry.id for hit in hits]
                shown = dict(zip(ids, gallery.thumbnails(ids), strict=True))
                subtitle = f"{self.gallery}, {len(gallery):,} entries" + (f"; {self.parts}" if self.parts else "")
                asked = [make_thumbnail(image) for image in images]
                layout = gallery.layout
                write_hits(self.html, asked, hits, shown, layout, subtitle=subtitle, verdicts=verdicts)
                if not self.general.json:
                    say(f"Written to {self.html}.")

    def _show(self, gallery: Gallery, hits: list[Hit], verdicts: list[Verdict | None], rests_on: str) -> None:
        if self.general.json:
            names = [block.name for block in gallery.layout]
            show_json([_as_json(hit, names) | {"verdict": v} for hit, v in zip(hits, verdicts, strict=True)])
            return
        if not hits:
            say(f"None of the {len(gallery):,} entries of {self.gallery} fits." if len(gallery) else "No entries yet.")
            return
        rows = [
            (
                str(rank),
                f"{hit.distance:.4f}",
                verdict or "",
                str(hit.entry.id),
                "" if hit.entry.pid is None else str(hit.entry.pid),
                hit.entry.camera_label,
                when(hit.entry.time),
                hit.entry.track or "",
                hit.entry.path,
            )
            for rank, (hit, verdict) in enumerate(zip(hits, verdicts, strict=True), start=1)
        ]
        heads = ("rank", "distance", "verdict", "entry", "id", "camera", "time", "track", "image")
        listing(heads, rows, right=("rank", "distance", "entry", "id"))
        say(rests_on)


def _as_json(hit: Hit, names: list[str]) -> dict[str, Any]:
    parts = dict(zip(names, hit.contributions.tolist(), strict=True))
    found = {"distance": hit.distance, "reranked": hit.reranked, "pooled": hit.pooled, "contributions": parts}
    return dataclasses.asdict(hit.entry) | found
