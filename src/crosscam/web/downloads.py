"""A result to take along: a table, or one page with its pictures inside."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime

from crosscam.data.text_files import harmless
from crosscam.gallery import Entry
from crosscam.report.hits import render_hits
from crosscam.web.search import Found, name_of
from crosscam.web.service import Service

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


def as_html(found: Found, service: Service, name: str) -> str:
    """One page that needs nothing but a browser; of an entry's path it has the last part alone."""
    gallery, query = service.gallery, found.query
    shown = [*(r.hit.entry.id for r in found.hits), *(e.id for e in (*found.confirmed, *found.rejected))]
    pictures = dict(zip(shown, gallery.thumbnails(shown), strict=True))
    own = query.previews if query.entry is None else [p for p in gallery.thumbnails([query.entry]) if p]
    added = f"; confirmed pictures ({len(found.confirmed)}) are part of the query" if found.confirmed else ""
    asked = "; ".join(f"{key}: {value}" for key, value in found.asked.items())
    return render_hits(
        own,
        [replace(r.hit, entry=_named(r.hit.entry)) for r in found.hits],
        pictures,
        gallery.layout,
        title=f"Matches in {name}",
        subtitle=f"{len(found.hits)} nearest entries{added}. A match is a hint, not an identification.",
        verdicts=[(r.verdict, r.probability) for r in found.hits],
        judged={"Confirmed": [*map(_named, found.confirmed)], "Rejected": [*map(_named, found.rejected)]},
        pid=found.known.pid,
        origin={
            "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "gallery": name,
            "model": f"{gallery.model.name}, {gallery.model.fingerprint}",
            "filters": asked or "none",
            "verdicts": found.rests_on,
        },
    )


def _named(entry: Entry) -> Entry:
    """Without the folders of its path."""
    return replace(entry, path=name_of(entry))
