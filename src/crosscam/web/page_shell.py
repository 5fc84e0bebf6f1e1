"""What all pages share: their templates, errors, and the step to the next page."""

from __future__ import annotations

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


def sure(sure: Annotated[Literal["yes"], Form()]) -> None:
    """A box that must be ticked before anything is forgotten."""


def see(path: str) -> RedirectResponse:
    """Go on with another page."""
    return RedirectResponse(path, 303)
