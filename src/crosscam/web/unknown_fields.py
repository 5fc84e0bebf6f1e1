"""What a call of the REST API does not have is refused: a misspelled filter filters nothing."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from crosscam.errors import WebError
from crosscam.system.text import did_you_mean

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


async def refuse_unknown(request: Request) -> None:
    """Refuse what the schema of the call does not name; JSON bodies are refused by their own.

    Raises:
        WebError: an unknown query parameter or form field.
    """
    schema = request.app.openapi()
    call = schema["paths"][request.scope["route"].path][request.method.lower()]
    known = sorted(p["name"] for p in call.get("parameters", ()) if p["in"] == "query")
    _refuse("query parameter", request.query_params.keys(), known)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in FORMS:
        _refuse("form field", (await request.form()).keys(), _form_fields(schema, call))


def _form_fields(schema: dict[str, Any], call: dict[str, Any]) -> list[str]:
    content = call.get("requestBody", {}).get("content", {})
    found: set[str] = set()
    for kind in FORMS:
        body = content.get(kind, {}).get("schema", {})
        for reference in (body, *body.get("allOf", ())):
            name = str(reference.get("$ref", "")).rpartition("/")[2]
            found |= set(schema["components"]["schemas"].get(name, reference).get("properties", {}))
    return sorted(found)


def _refuse(kind: str, given: Any, known: list[str]) -> None:
    strange = next((name for name in given if name not in known), None)
    if strange is not None:
        these = f"Known: {', '.join(known)}." if known else f"This call has no {kind}s."
        raise WebError(f"Unknown {kind} {strange!r:.60}. {did_you_mean(strange, known)}{these}")
