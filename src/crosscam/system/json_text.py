"""JSON that others may have written or damaged."""

from __future__ import annotations

import json
from typing import Any

from crosscam.errors import ArgumentError


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON; also where lists are nested so deep that Python gives up, and numbers have thousands
            of digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ArgumentError("it is nested too deep") from error
