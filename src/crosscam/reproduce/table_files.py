"""Tables as Markdown, CSV, JSON and HTML."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from crosscam.data.text_files import harmless
from crosscam.report.shell import NOTHING, fragment, html_page, origin_html, table_html
from crosscam.reproduce.tables import Table
from crosscam.system.files import write_atomically


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
    return html_page("reproduction", tables[0].title, "The paper's numbers beside those measured here.", sections)
