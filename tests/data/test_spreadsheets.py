"""Cells that a spreadsheet would run."""

from __future__ import annotations

import pytest

from crosscam.data.text_files import harmless


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@a",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        ";=1+1",
        "a;=1+1",
        "a\t=1",
        "a\n=1",
        "|=1",
        "\uff1d1",
    ],
)
def test_formulas_are_none_any_more(text: str) -> None:
    shown = str(harmless(text))
    for cell in shown.replace("\t", ";").replace("\n", ";").replace("\r", ";").replace("|", ";").split(";"):
        assert cell.strip()[:1] not in tuple("=+-@\uff1d")
    assert shown.replace("'", "") == text


def test_what_is_none_stays() -> None:
    for value in ("a.jpg", "a-b=c.jpg", "-1", "+2.5", "-1e-5", "x;y", "", 3, -2.5):
        assert harmless(value) == value
    assert harmless(None) == ""
