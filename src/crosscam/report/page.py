"""The report: one HTML file with scores, curves and rankings that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from crosscam.metrics.ranking import RankingResult
from crosscam.report.curves import Series, line_chart
from crosscam.report.shell import html_page, origin_html, table_html, write_page
from crosscam.report.strip_view import reading_guide, strip_html
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


@dataclass(frozen=True)
class ScoreRow:
    """One line of the score table.

    Attributes:
        name: what was scored, for example ``"trained"``.
        result: its scores.
        flip: whether descriptors are the mean over the image and its mirror image.
        reranking: the re-ranking and its parameters in words, or None.
        data_fingerprint: of the data set that was ranked.
    """

    name: str
    result: RankingResult
    flip: bool
    reranking: str | None
    data_fingerprint: str


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows; any part may be empty.

    Attributes:
        title, subtitle: plain text.
        scores: the first row is the headline, the others stand beside it for comparison.
        history: one mapping per epoch, as in ``metrics.jsonl``: ``epoch``, ``loss``, ``triplet``,
            ``cross_entropy``, sometimes ``mAP`` and ``rank1`` (fractions), and more.
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
    """Write the report; a report that was there is replaced only when the new one is complete.

    Raises:
        ImageError: an image of a strip that cannot be read.
        CrosscamError: the file cannot be written.
    """
    write_page(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The whole page as HTML text, with style and images inside it."""
    sections = {
        "scores": ("Scores", scores_html(content.scores)),
        "curves": ("Curves", _curves(content.history, content.scores)),
        "rankings": ("Rankings", _rankings(content.strips)),
        "origin": ("Where this comes from", origin_html(content.provenance, content.notes)),
    }
    return html_page("report", content.title, content.subtitle, sections, lead=_headline(content.scores))


def _rank(result: RankingResult, rank: int) -> float:
    """CMC at a rank; NaN where the curve does not reach it."""
    return float(result.cmc[rank - 1]) if rank <= len(result.cmc) else float("nan")


def _percent(value: float) -> str:
    return "–" if value != value else f"{100 * value:.1f}"


def _headline(scores: Sequence[ScoreRow]) -> str:
    """The key scores in large type, with the other rows beside them as bars."""
    if not scores:
        return ""
    cards = []
    for name, hint, values in (
        ("mAP", "mean average precision", [row.result.mAP for row in scores]),
        ("rank-1", "first match is right", [_rank(row.result, 1) for row in scores]),
        ("mINP", "how early the last right match comes", [row.result.mINP for row in scores]),
    ):
        bars = "".join(
            f'<li><span class="who">{escape(row.name)}</span><span class="meter" aria-hidden="true">'
            f'<i style="width:{min(max(100 * value, 0.0), 100.0) if value == value else 0:.1f}%"></i></span>'
            f'<span class="figure">{_percent(value)}</span></li>'
            for row, value in zip(scores, values, strict=True)
        )
        cards.append(
            f'<div class="card"><p class="key"><b>{name}</b> {hint}</p>'
            f'<p class="big">{_percent(values[0])}<small> %</small></p><ul>{bars}</ul></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>{_in_searches(scores[0])}'


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
    return f'<p class="subtitle">Of 100 searches, {count} find the right person first.</p>'


def scores_html(scores: Sequence[ScoreRow]) -> str:
    """The table of scores in per cent, and how they were measured in words."""
    if not scores:
        return '<p class="empty">Nothing was scored.</p>'
    heads = ["mAP", *(f"rank-{rank}" for rank in TABLE_RANKS), "mINP", "queries counted", "skipped"]
    rows = []
    for row in scores:
        r = row.result
        values = [r.mAP, *(_rank(r, rank) for rank in TABLE_RANKS), r.mINP]
        cells = "".join(f"<td>{_percent(float(v))}</td>" for v in values)
        counts = f"<td>{r.num_queries:,}</td><td>{r.num_skipped:,}</td>"
        rows.append(f'<tr><th scope="row">{escape(row.name)}</th>{cells}{counts}</tr>')
    head = '<th scope="col">per cent</th>' + "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of scores"><table class="scores">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{_protocols(scores)}"
    )


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
        f"After the search: {row.reranking}." if row.reranking else "No re-ranking.",
        f"Data fingerprint {row.data_fingerprint}.",
    ]
    return [sentence for sentence in sentences if sentence]


def _protocols(scores: Sequence[ScoreRow]) -> str:
    """What holds for all rows once, then what is special about some."""
    words = [protocol_in_words(row) for row in scores]
    common = [sentence for sentence in words[0] if all(sentence in others for others in words)]
    groups: dict[str, list[str]] = {"": ["All rows"]} if common else {}
    for row, sentences in zip(scores, words, strict=True):
        special = " ".join(sentence for sentence in sentences if sentence not in common)
        if special:
            groups.setdefault(special, []).append(row.name)
    items = "".join(
        f"<p><b>{escape(', '.join(names))}.</b> {escape(special or ' '.join(common))}</p>"
        for special, names in groups.items()
    )
    skipped = "Skipped queries have no right match in the gallery; they count in no score."
    return f'<div class="protocol">{items}<p>{skipped}</p></div>'


def _series(history: Sequence[Mapping[str, float]], key: str, name: str, factor: float = 1.0) -> list[Series]:
    """The line of one key over the epochs that have it; empty if none has."""
    points = [(entry["epoch"], factor * entry[key]) for entry in history if key in entry]
    return [Series(name, [x for x, _ in points], [y for _, y in points])] if points else []


def _curves(history: Sequence[Mapping[str, float]], scores: Sequence[ScoreRow]) -> str:
    """Loss, mAP and CMC side by side, and the history as a table."""
    charts = []
    if history:
        keys = (("loss", "loss"), ("triplet", "triplet"), ("cross_entropy", "cross-entropy"))
        losses = [line for key, name in keys for line in _series(history, key, name)]
        epochs = (min(entry["epoch"] for entry in history), max(entry["epoch"] for entry in history))
        charts.append(line_chart(losses, title="Loss in training", x_label="epoch", y_label="loss", x_range=epochs))
        learned = [*_series(history, "mAP", "mAP", 100.0), *_series(history, "rank1", "rank-1", 100.0)]
        charts.append(
            line_chart(
                learned,
                title="Scores while training",
                x_label="epoch",
                y_label="per cent",
                x_range=epochs,
                y_range=(0.0, 100.0),
            )
        )
    cmc = [
        Series(row.name, list(range(1, count + 1)), [100.0 * float(v) for v in row.result.cmc[:count]])
        for row in scores
        if (count := min(CMC_RANKS, len(row.result.cmc)))
    ]
    if cmc:
        charts.append(
            line_chart(
                cmc,
                title="CMC: a right match within the first k",
                x_label="rank k",
                y_label="per cent of queries",
                y_range=(0.0, 100.0),
                show_last=False,
            )
        )
    if not charts:
        return '<p class="empty">Nothing was trained or scored.</p>'
    return f'<div class="charts">{"".join(charts)}</div>{_history_table(history)}'


def _history_table(history: Sequence[Mapping[str, float]]) -> str:
    """The training history as numbers, folded away."""
    if not history:
        return ""
    keys = list(dict.fromkeys(key for entry in history for key in entry))
    heads = [key.replace("_", " ") for key in keys]
    rows = [[f"{entry[key]:.6g}" if key in entry else "" for key in keys] for entry in history]
    table = table_html(heads, rows, "Training history")
    return f"<details><summary>Training epoch by epoch as numbers</summary>{table}</details>"


def _rankings(strips: Sequence[RankStrip]) -> str:
    """The guide, then the strips of either kind."""
    if not strips:
        return '<p class="empty">No rankings were kept for this report.</p>'
    parts = [reading_guide()]
    for kind, name, words in (
        ("hardest", "Hardest queries", "The lowest average precision; each identity once while there are others."),
        ("easiest", "Easiest queries", "The highest average precision, in the same way."),
    ):
        chosen = [strip for strip in strips if strip.kind == kind]
        if chosen:
            parts.append(f'<h3>{name}</h3><p class="lead">{words}</p>{"".join(map(strip_html, chosen))}')
    return "".join(parts)
