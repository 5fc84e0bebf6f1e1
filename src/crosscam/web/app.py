"""The application: guard, API, pages, and one clear line for every error."""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

import crosscam
from crosscam.errors import CrosscamError, GalleryBusyError, GalleryError, ImageError, ModelMismatchError, WebError
from crosscam.web import api, content, journey_api, journey_pages, login_pages, pages
from crosscam.web.audit import AuditError
from crosscam.web.clients import Sessions
from crosscam.web.guard import Guard, RefusedError, error_body, is_api
from crosscam.web.page_shell import error_page, wrong_value
from crosscam.web.server_settings import Settings
from crosscam.web.service import MissingError, Service

LOG = logging.getLogger("crosscam.web")
STATIC = {"style.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8"}
# The first that fits decides.
STATUS: tuple[tuple[type[CrosscamError], int], ...] = (
    (MissingError, 404),
    (GalleryBusyError, 409),
    (ModelMismatchError, 409),
    (AuditError, 503),
    (ImageError, 422),
    (WebError, 422),
    (GalleryError, 409),
)


def create_app(service: Service, settings: Settings, name: str) -> ASGIApp:
    """An ASGI application over a gallery.

    Args:
        service: the gallery, opened.
        settings: addresses, tokens, limits.
        name: what pages call the gallery; no path.
    """
    content.install()
    app = FastAPI(
        title="crosscam",
        version=crosscam.__version__,
        description="Find the same person across cameras. See docs/serve.md and docs/responsible-use.md.",
        # The page of the schema that comes with FastAPI loads its script from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    sessions = Sessions()
    guard = Guard(app, settings, sessions)
    app.state.service, app.state.settings, app.state.name = service, settings, name
    app.state.sessions, app.state.failures = sessions, guard.failures
    app.include_router(api.router)
    app.include_router(journey_api.router)
    app.include_router(pages.router, include_in_schema=False)
    app.include_router(login_pages.router, include_in_schema=False)
    app.include_router(journey_pages.router, include_in_schema=False)
    app.add_api_route("/static/{file}", static_file, include_in_schema=False)
    for kind, _ in STATUS:
        app.add_exception_handler(kind, _known_error)
    app.add_exception_handler(CrosscamError, _known_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unknown_error)
    return guard


def static_file(file: str) -> Response:
    """The style sheet and the script, which are all there is."""
    if file not in STATIC:
        raise HTTPException(404, "No such file.")
    return Response(static_text(file), media_type=STATIC[file], headers={"cache-control": "no-cache"})


def static_text(file: str) -> str:
    """The reports' style sheets and the page's own as one; or the script."""
    own = resources.files("crosscam.web").joinpath("static", file).read_text(encoding="utf-8")
    if file != "style.css":
        return own
    report = resources.files("crosscam.report")
    return "".join(report.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "journeys.css")) + own


def answer(request: Request, status: int, message: str) -> Response:
    """An error: a JSON line for programs, a page for browsers."""
    line = " ".join(message.split())
    if not is_api(request.scope) and "text/html" in request.headers.get("accept", ""):
        return error_page(request, status, line)
    kind, body = error_body(request.scope, status, line)
    return Response(body, status, media_type=kind)


def _no_page(request: Request) -> Response:
    return answer(request, 404, f"There is no page {request.url.path}.")


def _known_error(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUS if isinstance(error, kind)), 422)
    place = str(request.app.state.service.place)
    # Errors of the gallery name its folder, which is nobody's business outside.
    message = str(error).replace(str(Path(place).resolve()), "the gallery").replace(place, "the gallery")
    return answer(request, status, message)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if not is_api(request.scope):
        if first["loc"][0] == "path":
            return _no_page(request)
        return answer(request, 422, wrong_value(first))
    where = ".".join(str(part) for part in first["loc"][1:])[:100] or str(first["loc"][0])
    more = f" And {len(error.errors()) - 1} more." if len(error.errors()) > 1 else ""
    return answer(request, 422, f"{where}: {first['msg']}.{more} See /api/v1/openapi.json.")


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and error.detail == "Not Found":
        response = _no_page(request)
    elif error.status_code == 405 and not is_api(request.scope):
        response = answer(request, 405, f"{request.url.path} is what a form is sent to, and no page to open.")
    else:
        response = answer(request, error.status_code, str(error.detail))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _unknown_error(request: Request, error: Exception) -> Response:
    if isinstance(error, RefusedError):
        return answer(request, error.status, error.message)
    LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(request, 500, "Something went wrong inside the server; its log tells what.")
