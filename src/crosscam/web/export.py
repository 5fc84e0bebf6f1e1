"""A result to take along: a table, or one page with its pictures inside."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

from jinja2 import Environment

from crosscam.data.spreadsheets import harmless
from crosscam.gallery import Entry
from crosscam.web import views
from crosscam.web.search import Found
from crosscam.web.service import Service, name_of

ROWS = 200
COLUMNS = (
    "rank",
    "id",
    "name",
    "camid",
    "time",
    "track",
    "pid",
    "distance",
    "verdict",
    "probability",
    "feedback",
)


def as_csv(found: Found) -> str:
    """Confirmed entries first (without a rank), then the hits, then rejected entries."""
    rows = [_row(e, feedback="same") for e in found.confirmed]
    for r in found.hits:
        chance = "" if r.probability is None else f"{r.probability:.6g}"
        rows.append(_row(r.hit.entry, r.rank, f"{r.hit.distance:.6f}", r.verdict or "", chance))
    rows += [_row(e, feedback="other") for e in found.rejected]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([harmless(value) for value in row] for row in rows)
    return out.getvalue()


def _row(
    entry: Entry,
    rank: int | None = None,
    distance: str = "",
    verdict: str = "",
    probability: str = "",
    feedback: str = "",
) -> tuple[object, ...]:
    known = (entry.id, name_of(entry), entry.camid, entry.time, entry.track, entry.pid)
    return rank, *known, distance, verdict, probability, feedback


def as_html(templates: Environment, found: Found, service: Service, name: str) -> str:
    """One page that needs nothing but a browser."""
    from crosscam.web.app import static_text

    shown = [r.hit.entry.id for r in found.hits] + [e.id for e in (*found.confirmed, *found.rejected)]
    if found.query.entry is not None:
        shown.append(found.query.entry)
    pictures = dict(zip(shown, service.gallery.thumbnails(shown), strict=True))
    own = [pictures[found.query.entry]] if found.query.entry is not None else list(found.query.previews)
    layout = service.gallery.layout
    return templates.get_template("report.html").render(
        style=static_text("style.css"),
        gallery=name,
        found=found,
        layout=layout,
        unit=views.longest_bar([r.hit.contributions for r in found.hits], layout),
        pictures={n: views.data_uri(data) for n, data in pictures.items() if data},
        own=[views.data_uri(data) for data in own if data],
        model=service.gallery.model,
        asked=found.asked,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
