"""The commands of docs/tutorial.md, word for word, one after the other."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
STEP = re.compile(r"^    (crosscam [^\n]*)$|^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = ("crosscam serve", "crosscam train")  # one never ends, the other takes an hour


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    for command, script in STEP.findall(PAGE.read_text(encoding="utf-8")):
        if command.startswith(LEFT_OUT):
            continue
        call = [sys.executable, "-c", script] if script else [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{command or script}\n{done.stdout}\n{done.stderr}"
        said[command] = done.stdout + done.stderr
    told = "".join(said.values())
    assert "2 entries forgotten; 112 entries left." in told
    assert len(said) == 12
    assert "Entrance" in told
    assert (tmp_path / "hits.html").stat().st_size > 0
    assert (tmp_path / "runs" / "photos-pictures" / "pairs.html").stat().st_size > 0
    assert "0 entries" not in next(
        text for command, text in said.items() if command.startswith("crosscam gallery info")
    )
