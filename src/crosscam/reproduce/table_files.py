"""Tables and their numbers as text; Markdown, CSV, JSON and HTML files of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from crosscam.data.text_files import harmless
from crosscam.metrics.intervals import Interval
from crosscam.report.shell import NOTHING, fragment, html_page, origin_html, table_html
from crosscam.system.files import write_atomically

Value = str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table twice: as it is read, and as values.

    Attributes:
        name, title: for file names; one line.
        cells: one list a row, as texts.
        records: the same rows as plain values; scores are fractions.
        notes: what a reader must know, one sentence each.
        expendable: heads of the columns that a narrow terminal may leave out, the first of them first.
    """

    name: str
    title: str
    heads: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    records: tuple[dict[str, Value], ...]
    notes: tuple[str, ...] = ()
    expendable: tuple[str, ...] = ()


def write_tables(
    folder: Path, name: str, tables: Sequence[Table], provenance: Mapping[str, str], figures: Markup = NOTHING
) -> list[Path]:
    """Write ``NAME.md``, ``NAME.json`` and ``NAME.html`` with all tables, and a CSV file for each; returns the files.

    ``provenance`` is what made them, by name; ``figures`` stand above the tables. StorageError if that fails.
    """
    texts = {
        folder / f"{name}.md": as_markdown(tables, provenance),
        folder / f"{name}.json": as_json(tables, provenance),
        folder / f"{name}.html": as_html(tables, provenance, figures),
        **{folder / f"{table.name}.csv": as_csv(table) for table in tables},
    }
    for path, text in texts.items():
        write_atomically(path, text)
    return list(texts)


def as_markdown(tables: Sequence[Table], provenance: Mapping[str, str]) -> str:
    """All tables under their titles, with their notes and what made them."""
    parts = []
    for table in tables:
        lines = [f"## {table.title}", "", *_markdown_rows(table), ""]
        lines += [f"- {note}" for note in table.notes]
        parts.append("\n".join(lines).rstrip())
    origin = "\n".join(f"- {name}: {value}" for name, value in provenance.items())
    return "\n\n".join([*parts, origin]) + "\n"


def _markdown_rows(table: Table) -> list[str]:
    rows = [table.heads, tuple("---" for _ in table.heads), *table.cells]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]


def as_json(tables: Sequence[Table], provenance: Mapping[str, str]) -> str:
    """The records of all tables; scores are fractions."""
    content = {t.name: {"title": t.title, "notes": list(t.notes), "rows": list(t.records)} for t in tables}
    return json.dumps({**content, "provenance": dict(provenance)}, indent=2, ensure_ascii=False) + "\n"


def as_csv(table: Table) -> str:
    """The records of one table; scores are fractions, what is not known is empty."""
    names = list(dict.fromkeys(name for record in table.records for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: harmless(v) for k, v in record.items()} for record in table.records)
    return out.getvalue()


def as_html(tables: Sequence[Table], provenance: Mapping[str, str], figures: Markup = NOTHING) -> str:
    """One page that needs nothing but a browser."""
    sections = {"figures": ("Figures", figures)} if figures else {}
    for table in tables:
        shown = table_html(table.heads, table.cells, table.title) + fragment(
            "macros.html", "notes_list", notes=table.notes
        )
        sections[table.name] = (table.title, shown)
    sections["origin"] = ("Where this comes from", origin_html(provenance))
    published = any("published" in head for table in tables for head in table.heads)
    subtitle = "The paper's numbers beside those measured here." if published else "Measured here; not in the paper."
    return html_page("reproduction", tables[0].title, subtitle, sections)


def percent(value: float) -> str:
    """A fraction in per cent."""
    return f"{100 * value:.1f}"


def spread(mean: float, deviation: float) -> str:
    """A mean of fractions in per cent, with its deviation where there is one."""
    return percent(mean) if np.isnan(deviation) else f"{percent(mean)} ± {percent(deviation)}"


def signed(change: Interval | None) -> str:
    """A difference of fractions in points of per cent, with its interval."""
    if change is None:
        return "–"
    # z: nothing rounds to -0.0.
    return f"{100 * change.value:+z.1f} [{100 * change.low:+z.1f}, {100 * change.high:+z.1f}]"
