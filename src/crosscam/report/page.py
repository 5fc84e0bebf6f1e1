"""The report: one HTML file with scores, curves and rankings that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from crosscam.metrics.ranking import RankingResult
from crosscam.report.curves import Series, line_chart
from crosscam.report.image_tiles import strip_html
from crosscam.report.shell import fragment, html_page, origin_html, write_page
from crosscam.report.strips import RankStrip

CMC_RANKS = 20
TABLE_RANKS = (1, 5, 10)
PROTOCOLS = {
    "market1501": "In the CMC a query counts from its first right match on.",
    "cuhk03": (
        "The CMC is of the single gallery shot: one image of each identity, from other cameras than the query's; "
        "it is the mean over all such draws."
    ),
    "allshots": "In the CMC each right match of a query counts, with equal shares.",
}
DROPPED = "Gallery images of the query's own identity and camera are left out, and junk images too."
AVERAGE_PRECISION = {
    "step": "Average precision is step-wise.",
    "trapezoid": "Average precision is the trapezoid of the Market-1501 toolkit.",
}
# Of the history: fractions, and what a table calls its keys.
SCORES = ("mAP", "rank1")
HEADS = {"lr": "learning rate", "cpu_seconds": "CPU seconds", "mAP": "mAP, per cent", "rank1": "rank-1, per cent"}

Distance = Literal["euclidean", "euclidean, lengths kept", "own"]
# How galleries, explanations, calibrations and exported files compare, where scores do so in another way.
_ELSEWHERE = "galleries, explanations and calibrations compare descriptors of length 1 by the Euclidean distance"
RANKED_BY: dict[Distance, str] = {
    "euclidean": "",
    "euclidean, lengths kept": f"Ranked by the Euclidean distance of descriptors with their lengths; {_ELSEWHERE}.",
    "own": f"Ranked by the system's own distance; {_ELSEWHERE}.",
}


@dataclass(frozen=True)
class ScoreRow:
    """One line of the score table.

    Attributes:
        name: what was scored, for example ``"trained"``.
        flip: whether descriptors are the mean over the image and its mirror image.
        reranking: the re-ranking and its parameters in words, or None.
        data_fingerprint: of the dataset that was ranked.
        distance: by which it was ranked.
    """

    name: str
    result: RankingResult
    flip: bool
    reranking: str | None
    data_fingerprint: str
    distance: Distance = "euclidean"


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows; any part may be empty.

    Attributes:
        scores: the first row is the headline, the others stand beside it for comparison.
        history: one mapping per epoch, as in ``metrics.jsonl``; scores are fractions.
        strips: from :func:`crosscam.report.strips.rank_strips`.
        provenance: recipe, commit, versions, command and the like, by name.
        notes: what the reader should know, one sentence each.
    """

    title: str
    subtitle: str
    scores: Sequence[ScoreRow] = ()
    history: Sequence[Mapping[str, float]] = ()
    strips: Sequence[RankStrip] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report, whole or not at all; ImageError or CrosscamError if an image or the file stands in the way."""
    write_page(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The whole page as HTML text, with style and images inside it."""
    sections = {
        "scores": ("Scores", scores_html(content.scores)),
        "curves": ("Curves", _curves(content.history, content.scores)),
        "rankings": ("Rankings", _rankings(content.strips, content.scores)),
        "origin": ("Where this comes from", origin_html(content.provenance, content.notes)),
    }
    return html_page("report", content.title, content.subtitle, sections, lead=_headline(content.scores))


def _rank(result: RankingResult, rank: int) -> float:
    """CMC at a rank; NaN where the curve does not reach it."""
    return float(result.cmc[rank - 1]) if rank <= len(result.cmc) else float("nan")


def _percent(value: float) -> str:
    return "–" if value != value else f"{100 * value:.1f}"


def _headline(scores: Sequence[ScoreRow]) -> Markup:
    if not scores:
        return Markup("")
    cards = []
    for name, hint, values in (
        ("mAP", "mean average precision", [row.result.mAP for row in scores]),
        ("rank-1", "first match is right", [_rank(row.result, 1) for row in scores]),
        ("mINP", "how early the last right match comes", [row.result.mINP for row in scores]),
    ):
        shares = [min(max(100 * value, 0.0), 100.0) if value == value else 0.0 for value in values]
        bars = [(row.name, _percent(v), share) for row, v, share in zip(scores, values, shares, strict=True)]
        cards.append({"name": name, "hint": hint, "value": _percent(values[0]), "unit": "%", "bars": bars})
    return fragment("report.html", "headline", cards=cards, sentence=_in_searches(scores[0]))


def _in_searches(row: ScoreRow) -> str:
    """Rank-1 in a plain sentence."""
    right = 100 * _rank(row.result, 1)
    if right != right:
        return ""
    count = f"{right:.0f}"
    if 0 < right < 0.5:
        count = "fewer than 1"
    elif 99.5 <= right < 100:
        count = "more than 99"
    return f"Of 100 searches, {count} find the right person first."


def scores_html(scores: Sequence[ScoreRow]) -> Markup:
    """The table of scores in per cent, and how they were measured in words."""
    if not scores:
        return _empty("Nothing was scored.")
    ranks = [f"rank-{rank}" for rank in TABLE_RANKS]
    heads = ["per cent", "mAP", *ranks, "mINP", "queries counted", "skipped"]
    rows = []
    for row in scores:
        r = row.result
        values = [r.mAP, *(_rank(r, rank) for rank in TABLE_RANKS), r.mINP]
        rows.append([row.name, *(_percent(float(v)) for v in values), f"{r.num_queries:,}", f"{r.num_skipped:,}"])
    return fragment("report.html", "scores", heads=heads, rows=rows, protocols=_protocols(scores))


def protocol_in_words(row: ScoreRow) -> list[str]:
    """How a score was measured, in plain sentences."""
    result = row.result
    sentences = [
        f"Protocol {result.protocol}.",
        DROPPED,
        PROTOCOLS.get(result.protocol, ""),
        AVERAGE_PRECISION.get(result.ap, f"Average precision: {result.ap}."),
        "Descriptors are the mean over the image and its mirror image."
        if row.flip
        else "Descriptors are of the image alone, without its mirror image.",
        RANKED_BY[row.distance],
        f"After the search: {row.reranking}." if row.reranking else "No re-ranking.",
        f"Data fingerprint {row.data_fingerprint}.",
    ]
    return [sentence for sentence in sentences if sentence]


def _protocols(scores: Sequence[ScoreRow]) -> list[tuple[list[str], str]]:
    """Names of rows and what holds for them: for all rows once, then what is special about some."""
    words = [protocol_in_words(row) for row in scores]
    common = [sentence for sentence in words[0] if all(sentence in others for others in words)]
    groups: dict[str, list[str]] = {"": ["All rows"]} if common else {}
    for row, sentences in zip(scores, words, strict=True):
        special = " ".join(sentence for sentence in sentences if sentence not in common)
        if special:
            groups.setdefault(special, []).append(row.name)
    return [(names, special or " ".join(common)) for special, names in groups.items()]


def _series(history: Sequence[Mapping[str, float]], key: str, name: str, factor: float = 1.0) -> list[Series]:
    """The line of one key over the epochs that have it; empty if none has."""
    points = [(entry["epoch"], factor * entry[key]) for entry in history if key in entry]
    return [Series(name, [x for x, _ in points], [y for _, y in points])] if points else []


def _curves(history: Sequence[Mapping[str, float]], scores: Sequence[ScoreRow]) -> Markup:
    charts = [*_history_charts(history), *_cmc_chart(scores)]
    if not charts:
        return _empty("Nothing was trained or scored.")
    keys = list(dict.fromkeys(key for entry in history for key in entry))
    heads = [HEADS.get(key, key.replace("_", " ")) for key in keys]
    rows = [[_cell(key, entry[key]) if key in entry else "" for key in keys] for entry in history]
    return fragment("report.html", "curves", drawn=charts, heads=heads, rows=rows)


def _cell(key: str, value: float) -> str:
    return _percent(value) if key in SCORES else f"{value:.6g}"


def _history_charts(history: Sequence[Mapping[str, float]]) -> list[Markup]:
    if not history:
        return []
    keys = (("loss", "loss"), ("triplet", "triplet"), ("cross_entropy", "cross-entropy"))
    losses = [line for key, name in keys for line in _series(history, key, name)]
    learned = [*_series(history, "mAP", "mAP", 100.0), *_series(history, "rank1", "rank-1", 100.0)]
    epochs = (min(entry["epoch"] for entry in history), max(entry["epoch"] for entry in history))
    title, whole = "Scores while training", (0.0, 100.0)
    return [
        line_chart(losses, title="Loss in training", x_label="epoch", y_label="loss", x_range=epochs),
        line_chart(learned, title=title, x_label="epoch", y_label="per cent", x_range=epochs, y_range=whole),
    ]


def _cmc_chart(scores: Sequence[ScoreRow]) -> list[Markup]:
    cmc = [
        Series(row.name, list(range(1, count + 1)), [100.0 * float(v) for v in row.result.cmc[:count]])
        for row in scores
        if (count := min(CMC_RANKS, len(row.result.cmc)))
    ]
    if not cmc:
        return []
    title, y_label, whole = "CMC: a right match within the first k", "per cent of queries", (0.0, 100.0)
    return [line_chart(cmc, title=title, x_label="rank k", y_label=y_label, y_range=whole, show_last=False)]


def _rankings(strips: Sequence[RankStrip], scores: Sequence[ScoreRow]) -> Markup:
    if not strips:
        return _empty("No rankings were kept for this report.")
    kinds = (
        ("hardest", "Hardest queries", "The lowest average precision; each identity once while there are others."),
        ("easiest", "Easiest queries", "The highest average precision, in the same way."),
    )
    groups = [(name, words, [strip_html(s) for s in strips if s.kind == kind]) for kind, name, words in kinds]
    own = bool(scores) and scores[0].distance == "own"
    return fragment("report.html", "rankings", groups=groups, own=own)


def _empty(words: str) -> Markup:
    return fragment("report.html", "empty", words=words)
