"""What all pages share: one HTML file with its style inside, sections that can be jumped to, and its writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from crosscam.system.files import write_atomically, write_text

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html_page(
    kind: str,
    title: str,
    subtitle: str,
    sections: Mapping[str, tuple[str, str]],
    *,
    lead: str = "",
    styles: Sequence[str] = (),
) -> str:
    """A whole page that needs nothing but a browser.

    Args:
        kind: what it is, in a word.
        title, subtitle: plain text.
        sections: id to heading (plain text) and content (HTML), in order.
        lead: HTML below the title.
        styles: style sheets of this folder, beside ``style.css``.
    """
    style = "".join(_style(name) for name in ("style.css", *styles))
    links = "".join(f'<a href="#{key}">{escape(name)}</a>' for key, (name, _) in sections.items())
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-name"><h2 id="{key}-name">{escape(name)}</h2>{html}</section>'
        for key, (name, html) in sections.items()
    )
    first, (first_name, _) = next(iter(sections.items()))
    # Links to the only section would lead nowhere.
    nav = f'<nav aria-label="Sections">{links}</nav>' if len(sections) > 1 else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f'<a class="skip" href="#{first}">Skip to: {escape(first_name)}</a>'
        f'<header><p class="brand">crosscam · {escape(kind)}</p>'
        f'<h1>{escape(title)}</h1><p class="subtitle">{escape(subtitle)}</p>'
        f"{nav}{lead}</header>"
        f"<main>{body}</main></body></html>\n"
    )


def origin_html(provenance: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """Notes, and everything needed to make the page again."""
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    entries = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in provenance.items())
    return (f'<ul class="notes">{listed}</ul>' if listed else "") + (
        f'<dl class="origin">{entries}</dl>' if entries else '<p class="empty">Nothing was noted.</p>'
    )


def table_html(heads: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """A table that scrolls sideways where it must; the first cell of a row is its head. All cells are plain text."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(c)}</td>" for c in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def write_page(path: Path, text: str) -> None:
    """Write a page; one that was there is replaced only when the new one is complete.

    Raises:
        StorageError: the file cannot be written.
    """
    next_step = "Give a folder that can be written and has space left."
    write_atomically(path, lambda temporary: write_text(temporary, text), next_step=next_step)


def _style(name: str) -> str:
    return resources.files("crosscam.report").joinpath(name).read_text(encoding="utf-8")
