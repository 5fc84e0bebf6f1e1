"""Figures 4, 5 and 6 of the paper, of any trained models: a page, an image, and the numbers behind them.

Source: Park & Ham, AAAI 2020. Photographs of people are in what is written: mind where it goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from crosscam.data.loading import open_images
from crosscam.data.records import ReidDataset, pids_of, ranked
from crosscam.data.resizing import prepare
from crosscam.data.samplers import in_order
from crosscam.errors import ArgumentError
from crosscam.experiments.scoring import Scored, TestImages, distances_of
from crosscam.explain.activation import activation_maps, part_focus, stripe_block
from crosscam.models.systems import layout_of
from crosscam.recipes.recipe import Recipe
from crosscam.report.comparison import ComparedQuery, ModelRow, QueryMap, comparison_html, contact_image
from crosscam.report.focus_view import focus_data, focus_html, focus_rows
from crosscam.report.image_tiles import heat_legend
from crosscam.report.page import scores_html
from crosscam.report.shell import fragment, html_page, origin_html, write_page
from crosscam.report.strips import Kind, distinct_first, query_strip
from crosscam.system.files import write_atomically
from crosscam.training.provenance import versions

Listener = Callable[[str], None]
MAP_BATCH = 32


@dataclass(frozen=True)
class NamedModel:
    """A trained network, the name under which it is shown, and its recipe (input size, mirror images)."""

    name: str
    model: nn.Module
    recipe: Recipe


@dataclass(frozen=True, eq=False)
class Figure:
    """A finished figure: a self-contained page, the same as one RGB image, and the numbers, JSON-ready."""

    html: str
    image: Image.Image
    data: dict[str, Any]

    def write(self, folder: Path, name: str) -> None:
        """Write ``name.html``, ``name.png`` and ``name.json`` into a folder; CrosscamError if that fails."""
        write_page(folder / f"{name}.html", self.html)
        write_atomically(folder / f"{name}.png", lambda path: self.image.save(path, "PNG", optimize=True))
        write_atomically(folder / f"{name}.json", json.dumps(self.data, indent=2) + "\n")


def figure_strips(
    models: Sequence[NamedModel],
    dataset: ReidDataset,
    *,
    queries: int = 8,
    top: int = 5,
    seed: int = 0,
    title: str = "The same queries, several models",
    listener: Listener | None = None,
) -> Figure:
    """Figures 4 and 5: what each model finds first for the same queries.

    Args:
        models: in the order of the rows.
        dataset: query and gallery.
        queries, seed: see :func:`choose_queries`.
        top: matches of each query.
        title: of the page.
        listener: told what is going on.
    Raises:
        DataError: no query or gallery, or an image that cannot be read.
        ValueError: no model, or two of one name.
    """
    scored = _score_all(models, dataset, listener)
    dataset = ranked(dataset)
    chosen = choose_queries(_precisions(scored), pids_of(dataset.query), queries, seed)
    entries = [_compare(models, scored, dataset, q, kind, top) for q, kind in chosen]
    sections = {
        "scores": ("All queries", scores_html([s.row() for s in scored])),
        "queries": ("Rankings", _queries_html(entries, queries, seed)),
        "origin": ("Where this comes from", origin_html(_provenance(models, dataset, seed), dataset.notes)),
    }
    words = f"The first {top} of the ranking by {len(models)} models. Green is the same person, red is somebody else."
    html = html_page("figure", title, words, sections, styles=("compare.css",))
    return Figure(html, contact_image(title, _rule(queries, seed), entries), _data(scored, entries, seed))


def figure_activation(
    one_vs_rest: NamedModel,
    rest_only: NamedModel,
    dataset: ReidDataset,
    *,
    part: int = 3,
    num_parts: int = 6,
    queries: int = 6,
    top: int = 3,
    seed: int = 0,
    listener: Listener | None = None,
) -> Figure:
    """Figure 6: activation maps of R_p(T(p_i, r_i)) and of R_p(r_i), some to see and all in numbers.

    Args:
        one_vs_rest: a model with ``relation="one_vs_rest"``.
        rest_only: a model with ``relation="rest_only"``.
        part: i, counted from 1 as in the paper.
        num_parts: the scale, one that both models have.
        dataset, queries, top, seed, listener: see :func:`figure_strips`; the bootstrap takes the seed, too.
    Raises:
        DataError: no query or gallery, or an image that cannot be read.
        ValueError: a model without that relation or that part.
    """
    models = (one_vs_rest, rest_only)
    blocks = [stripe_block(m.model, num_parts, part - 1) for m in models]
    scored = _score_all(models, dataset, listener)
    dataset = ranked(dataset)
    focus = []
    for named in models:
        _tell(listener, f"looking where {named.name} looks")
        batches, flip = _batches(named, dataset), named.recipe.evaluation.flip
        focus.append(part_focus(named.model, batches, num_parts, part - 1, flip=flip))
    chosen = choose_queries(_precisions(scored), pids_of(dataset.query), queries, seed)
    entries = []
    for q, kind in chosen:
        maps = [
            QueryMap(activation_maps(torch.from_numpy(f.places[q])).numpy(), b.rows, num_parts)
            for f, b in zip(focus, blocks, strict=True)
        ]
        entries.append(_compare(models, scored, dataset, q, kind, top, maps))
    rows = focus_rows([m.name for m in models], focus, pids_of(dataset.query), seed)
    title = f"Where the relation of part {part} looks"
    sections = {
        "numbers": ("All queries", focus_html(rows, part, num_parts)),
        "queries": ("Examples", heat_legend() + _queries_html(entries, queries, seed)),
        "scores": ("Scores", scores_html([s.row() for s in scored])),
        "origin": ("Where this comes from", origin_html(_provenance(models, dataset, seed), dataset.notes)),
    }
    html = html_page("figure", title, FOCUS_WORDS.format(part, num_parts), sections, styles=("compare.css",))
    data = _data(scored, entries, seed) | {"part": part, "num_parts": num_parts, "focus": focus_data(rows)}
    return Figure(html, contact_image(title, _rule(queries, seed), entries), data)


FOCUS_WORDS = (
    "Activation maps of what the relation adds to part {} of {}: R_p(T(p, r)), which sees the part "
    "beside the rest, and R_p(r), which sees the rest alone. The box marks the part."
)


def choose_queries(
    average_precision: NDArray[np.float64], pids: NDArray[np.int64], count: int, seed: int
) -> list[tuple[int, Kind]]:
    """Queries to show: half of them where the models differ most, whichever wins, the others at random.

    Each identity comes once while there are others. Queries that were not scored are never shown.

    Args:
        average_precision: (M, Q) of each model; NaN marks a query that was not scored.
        pids: (Q,) their identities.
        count: how many; of one model alone, all are drawn at random.
        seed: of the random ones.
    Returns:
        (index, reason), the most different first, then the random ones as they were drawn.
    """
    scored = np.flatnonzero(~np.isnan(average_precision).any(axis=0))
    spread = np.ptp(average_precision[:, scored], axis=0)
    by_spread = scored[np.argsort(-spread, kind="stable")]
    num_differing = (count + 1) // 2 if len(average_precision) > 1 else 0
    differing = distinct_first(by_spread, pids, num_differing)
    shuffled = np.random.default_rng(seed).permutation(scored)
    seen = set(pids[differing].tolist())
    # Other people first, those who are shown already last.
    order = [*(q for q in shuffled if int(pids[q]) not in seen), *(q for q in shuffled if int(pids[q]) in seen)]
    drawn = distinct_first(order, pids, count - len(differing), differing)
    return [*((q, "differing") for q in differing), *((q, "random") for q in drawn)]


def _rule(count: int, seed: int) -> str:
    return (
        f"Queries: the {(count + 1) // 2} on which the models' average precision differs most, in either "
        f"direction, and {count // 2} drawn at random (seed {seed}); each person once while there are others."
    )


def _score_all(models: Sequence[NamedModel], dataset: ReidDataset, listener: Listener | None) -> list[Scored]:
    names = [m.name for m in models]
    if not names or len(set(names)) < len(names):
        raise ArgumentError(f"Expected models with different names, found {names}.")
    scored = []
    opened: dict[tuple[int, int], TestImages] = {}
    for named in models:
        _tell(listener, f"ranking with {named.name}")
        size = (named.recipe.data.height, named.recipe.data.width)
        if size not in opened:
            opened[size] = TestImages(dataset, named.recipe)
        scored.append(opened[size].of(named.recipe).score(named.model, named.name))
    return scored


def _tell(listener: Listener | None, what: str) -> None:
    if listener:
        listener(what)


def _precisions(scored: Sequence[Scored]) -> NDArray[np.float64]:
    return np.stack([s.result.average_precision for s in scored])


def _batches(named: NamedModel, dataset: ReidDataset) -> Iterator[Tensor]:
    data = named.recipe.data
    images = open_images([s.path for s in dataset.query], data.height, data.width, data.cache)
    device = next(named.model.parameters()).device
    for pixels in images.batches(in_order(len(images), MAP_BATCH)):
        yield prepare(pixels.to(device), data.height, data.width)


def _compare(
    models: Sequence[NamedModel],
    scored: Sequence[Scored],
    dataset: ReidDataset,
    q: int,
    kind: Kind,
    top: int,
    maps: Sequence[QueryMap] | None = None,
) -> ComparedQuery:
    rows = []
    for k, (named, s) in enumerate(zip(models, scored, strict=True)):
        layout = layout_of(named.model)
        distances = distances_of(named.recipe, layout, s.query[q : q + 1], s.gallery)[0]
        precision = float(s.result.average_precision[q])
        strip = query_strip(dataset, q, kind, distances, precision, s.query[q], s.gallery, layout, top)
        rows.append(ModelRow(named.name, strip, maps[k] if maps else None))
    return ComparedQuery(dataset.query[q], tuple(rows))


def _queries_html(entries: Sequence[ComparedQuery], count: int, seed: int) -> Markup:
    compared = [comparison_html(entry) for entry in entries]
    return fragment("comparison.html", "queries", words=_rule(count, seed), compared=compared)


def _provenance(models: Sequence[NamedModel], dataset: ReidDataset, seed: int) -> dict[str, str]:
    recipes = {
        m.name: f"recipe {m.recipe.name}, {m.recipe.data.height} x {m.recipe.data.width}, seed {m.recipe.train.seed}"
        for m in models
    }
    return {"data": f"{dataset.name}, fingerprint {dataset.fingerprint()}", **recipes, "seed": str(seed), **versions()}


def _data(scored: Sequence[Scored], entries: Sequence[ComparedQuery], seed: int) -> dict[str, Any]:
    """Scores, and for each query shown what the models found; file names only, no images."""
    shown = [
        {
            "query": entry.query.path.name,
            "pid": entry.query.pid,
            "camid": entry.query.camid,
            "reason": entry.rows[0].strip.kind,
            "models": {
                row.name: {
                    "average_precision": row.strip.average_precision,
                    "first_correct_rank": row.strip.first_correct_rank,
                    "matches": [m.sample.path.name for m in row.strip.matches],
                    "correct": [m.correct for m in row.strip.matches],
                }
                for row in entry.rows
            },
        }
        for entry in entries
    ]
    return {"seed": seed, "scores": [s.to_dict() for s in scored], "queries": shown}
