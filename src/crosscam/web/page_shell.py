"""What all pages share: their templates, errors, and the step to the next page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Form, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse

from crosscam.explain.typical import block_words
from crosscam.gallery.answers import ENOUGH
from crosscam.gallery.fragments import shown_name
from crosscam.report.hits import chance, when
from crosscam.report.shell import templates
from crosscam.system.text import counted
from crosscam.web import views
from crosscam.web.forms import BOXES, LARGEST_WEIGHT, TIME_STEPS
from crosscam.web.search import name_of

TEMPLATES = Environment(
    loader=PackageLoader("crosscam.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals.update(
    # Macros of the reports: what stands on a page and in a report is written once.
    shared=templates().get_template("macros.html").module,
    journeys=templates().get_template("journeys.html").module,
    views=views,
    chance=chance,
    when=when,
    name_of=name_of,
    shown_name=shown_name,
    counted=counted,
    block_words=block_words,
    ENOUGH=ENOUGH,
    BOXES=BOXES,
    TIME_STEPS=TIME_STEPS,
    LARGEST_WEIGHT=LARGEST_WEIGHT,
)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of a template, with what all pages show."""
    state = request.app.state
    common = {
        "gallery": state.name,
        "limits": state.settings.limits,
        "who": getattr(request.state, "who", "nobody"),
        "with_token": bool(state.settings.tokens),
        "path": request.url.path,
    }
    return HTMLResponse(TEMPLATES.get_template(template).render(**common, **values), status)


def error_page(request: Request, status: int, message: str) -> HTMLResponse:
    """What went wrong, and the way back."""
    return page(request, "error.html", status, message=message, code=status)


# What a field expects, by the kind of fault that its schema found; with what the schema says of its limits.
EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a number",
    "bool": "true or false",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
    "literal_error": "{expected}",
    "string_too_long": "at most {max_length:,} characters",
    "string_too_short": "some text",
    "string_pattern_mismatch": "one line of ordinary text",
}


def wrong_value(fault: Mapping[str, Any]) -> str:
    """What is wrong with a field of an address or a form, in words.

    Args:
        fault: of the schema, as ``RequestValidationError.errors()`` has it.
    """
    name, kind = str(fault["loc"][1] if len(fault["loc"]) > 1 else fault["loc"][0]), str(fault["type"])
    if kind == "missing":
        return f"Nothing is given for {name!r:.60}."
    expected = EXPECTED.get(kind) or EXPECTED.get(kind.partition("_")[0], "another value")
    found = "" if kind == "string_too_long" else f", found {fault['input']!r:.60}"
    return f"{name!r:.60}: expected {expected.format(**fault.get('ctx', {}))}{found}."


def sure(sure: Annotated[Literal["yes"], Form()]) -> None:
    """A box that must be ticked before anything is forgotten."""


def see(path: str) -> RedirectResponse:
    """Go on with another page."""
    return RedirectResponse(path, 303)
