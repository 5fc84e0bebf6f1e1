"""What is shown while something takes long."""

from __future__ import annotations

import pytest

from crosscam.cli import show
from crosscam.cli.show import as_duration, bars, counting


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3540, "59 min"), (11_100, "3 h 05 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert as_duration(seconds) == shown


def test_without_a_terminal_a_line_tells_how_far_it_is_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lines = [0.0], list[str]()
    monkeypatch.setattr(show.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(show, "say", lines.append)
    with bars() as progress:
        listen = counting(progress, "describing")
        for done in range(1, 8):
            now[0] += 10
            listen(done * 100, 1000)
    assert [line.split(",")[0] for line in lines] == ["describing: 300 of 1", "describing: 600 of 1"]
    assert all("left" in line for line in lines)


def test_a_quiet_command_tells_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(show, "SECONDS_BETWEEN_LINES", 0.0)
    with bars(quiet=True) as progress:
        counting(progress, "describing")(1, 2)
    assert capsys.readouterr().err == ""
