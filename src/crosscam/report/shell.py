"""What all pages share: one HTML file with its style inside, made from the templates of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crosscam.system.files import write_atomically
from crosscam.system.text import counted

NOTHING = Markup("")


def html_page(
    kind: str,
    title: str,
    subtitle: str,
    sections: Mapping[str, tuple[str, Markup]],
    *,
    lead: Markup = NOTHING,
    styles: Sequence[str] = (),
) -> str:
    """A whole page that needs nothing but a browser.

    Args:
        kind: what it is, in a word.
        sections: id to heading and content, in order; plain text is escaped, ``Markup`` is not.
        lead: below the title.
        styles: style sheets of this folder, beside ``style.css``.
    """
    folder = resources.files("crosscam.report")
    style = Markup("".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", *styles)))
    page = templates().get_template("page.html")
    return page.render(kind=kind, title=title, subtitle=subtitle, sections=sections, lead=lead, style=style)


@cache
def templates() -> Environment:
    """The templates; all that they are given is escaped, except ``Markup``."""
    loader = PackageLoader("crosscam.report")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.globals["counted"] = counted
    return found


def fragment(template: str, macro: str, **values: object) -> Markup:
    """A piece of a page: what a macro of a template makes of the values."""
    return Markup(getattr(templates().get_template(template).module, macro)(**values))


def origin_html(provenance: Mapping[str, str], notes: Sequence[str] = ()) -> Markup:
    """Notes, and everything needed to make the page again."""
    return fragment("macros.html", "origin", provenance=provenance, notes=notes)


def table_html(heads: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> Markup:
    """A table; the first cell of a row is its head."""
    return fragment("macros.html", "table", heads=heads, rows=rows, label=label)


def write_page(path: Path, text: str) -> None:
    """Write a page; one that was there is replaced only when the new one is complete. StorageError if that fails."""
    write_atomically(path, text, next_step="Give a folder that can be written and has space left.")
