"""Logging in and out with a browser."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from crosscam.web.clients import COOKIE, SESSION_SECONDS, session_of
from crosscam.web.guard import HEADERS
from crosscam.web.page_shell import TEMPLATES, see

router = APIRouter()


@router.get("/login")
def login(next: Annotated[str, Query(max_length=8000)] = "/") -> Response:
    """Ask for the token."""
    return _login_form(next)


def _login_form(next: str, *, wrong: bool = False, status: int = 200) -> HTMLResponse:
    """The form, with its style inside: without a token nothing else can be fetched."""
    style = resources.files("crosscam.web").joinpath("static", "login.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = TEMPLATES.get_template("login.html").render(next=next, wrong=wrong, style=Markup(style))
    policy = HEADERS["content-security-policy"].replace("style-src 'self'", f"style-src 'sha256-{digest}'")
    return HTMLResponse(text, status, headers={"content-security-policy": policy})


@router.post("/login")
def log_in(
    request: Request, token: Annotated[str, Form(max_length=1000)], next: Annotated[str, Form(max_length=8000)] = "/"
) -> Response:
    """Take the token, and remember the browser."""
    state = request.app.state
    address = request.client.host if request.client else "unknown"
    who = state.settings.holder_of(token.strip())
    if who is None:
        status = 429 if state.failures.take(address) else 401
        return _login_form(next, wrong=True, status=status)
    local = next.startswith("/") and not next.startswith(("//", "/\\")) and next.isprintable()
    response = see(next if local else "/")
    response.set_cookie(
        COOKIE,
        state.sessions.begin(who),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
def log_out(request: Request) -> Response:
    """Forget the browser."""
    session = session_of(request.headers)
    if session:
        request.app.state.sessions.end(session)
    response = see("/login")
    response.delete_cookie(COOKIE)
    return response
