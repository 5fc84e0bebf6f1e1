"""What every error of the API must look like."""

from __future__ import annotations

from typing import Any


def one_line(answer: Any, status: int) -> str:
    """The message of an error of the API: one JSON line with its status, and nothing else."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.text.count("\n") == 1
    found = answer.json()
    assert set(found) == {"error", "status"}
    assert found["status"] == status
    assert found["error"]
    assert "Traceback" not in answer.text
    return str(found["error"])
