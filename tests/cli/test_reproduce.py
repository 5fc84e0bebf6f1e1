"""``crosscam reproduce`` as it is typed, and killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crosscam.reproduce.paper_rows import TABLE1
from crosscam.reproduce.study import RESULT

TINY = (
    "--scale small --epochs 1 "
    "--recipe-override model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1 "
    "--recipe-override model.dim=4 --recipe-override data.height=96 --recipe-override data.width=16 "
    "--recipe-override data.batch_ids=2 --recipe-override data.batch_images=2 "
    "--recipe-override train.precision=fp32 --recipe-override train.checkpoint_steps=1"
)
COMMAND = f"reproduce table3 --data people --out study {TINY} --json"


def scores(text: str) -> list[object]:
    """The rows of a table's JSON; what made it (commit, command) stands apart from them."""
    return json.loads(text)["table3"]["rows"]


def test_a_table_by_one_command(crosscam, place: Path) -> None:
    status, out, err = crosscam(COMMAND)
    assert status == 0, err
    rows = scores(out)
    assert [r["region"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert all(0 < r["with_mAP"] <= 1 for r in rows)
    assert {p.name for p in (place / "study" / "tables").iterdir()} == {
        f"table3.{e}" for e in ("md", "csv", "json", "html")
    }
    assert "gmp, seed 0" in err
    status, again, err = crosscam(COMMAND)
    assert (status, scores(again)) == (0, rows)
    assert "seed 0" not in err
    status, shown, _ = crosscam(COMMAND.removesuffix("--json"))
    assert status == 0
    assert "Table 3: single local features" in shown
    status, out, err = crosscam(COMMAND.replace("--out study", "--out empty") + " --show")
    assert (status, err) == (0, "")
    assert "with_mAP" not in scores(out)[0]


def test_figures_of_trained_rows(crosscam, place: Path) -> None:
    common = f"--data people --out study {TINY} --json"
    status, out, err = crosscam(f"reproduce figure6 {common}")
    assert status == 0, err
    data = json.loads(out)["figure6"]
    assert data["part"] == 3
    status, out, err = crosscam(f"reproduce figure5 {common}")
    assert status == 0, err
    assert set(json.loads(out)) == {"figure5a", "figure5b"}
    names = {f"{n}.{e}" for n in ("figure5a", "figure5b", "figure6") for e in ("html", "json", "png")}
    assert {p.name for p in (place / "study" / "figures").iterdir()} == names
    # Rows that a table and a figure share are trained once.
    assert err.count("seed 0") == 4
    status, _, err = crosscam(f"reproduce figure5 {common} --rows gmp")
    assert status == 2
    assert "Leave --rows out" in err


def test_recipes_lists_every_system(crosscam) -> None:
    _, out, _ = crosscam("recipes --json")
    assert {row.name for row in TABLE1} <= set(json.loads(out))


def start(command: str, place: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, always with one thread: sums of several differ in the last bits."""
    return subprocess.Popen(
        [sys.executable, "-m", "crosscam", *command.split()],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def test_killed_anywhere_it_ends_with_the_same_table(place: Path) -> None:
    whole, _ = start(COMMAND.replace("--out study", "--out whole"), place).communicate(timeout=240)
    rng = random.Random(0)
    kills = 0
    for _ in range(40):
        process = start(COMMAND, place)
        # Start-up takes most of the time; only kills after it interrupt anything.
        started = place / "study" / "study.json"
        while not started.exists() and process.poll() is None:
            os.sched_yield()
        try:
            # The first kill comes at once, so that there is one on a fast machine too.
            found, _ = process.communicate(timeout=240 if kills > 3 else rng.uniform(0.2, 3.5) if kills else 0.05)
            if process.returncode == 0:
                break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills > 0
    assert scores(found.decode()) == scores(whole.decode())
    assert len(list((place / "study").glob(f"*/seed0/{RESULT}"))) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("table1", "table1 needs a dataset"),
        ("table1 --data people --rows gmp", "has no row 'gmp'. Known: svdnet"),
        ("table1 --data people --seeds 0", "--seeds 0: expected at least 1"),
        ("transfer --data people", "transfer needs another dataset"),
        ("transfer --data people --exam people --out empty", "holds no finished network"),
        ("collision --show", "--show means nothing for collision"),
        ("table2 --data people --exam people", "--exam means nothing for table2"),
        ("table1 --data nowhere", "No dataset at nowhere"),
        (f"table3 --data people --rows gmp {TINY} --recipe-override train.epoch=1", "Did you mean train.epochs?"),
        ("table9", "table9"),
    ],
)
def test_bad_input_gets_one_line(crosscam, words: str, expected: str) -> None:
    status, out, err = crosscam(f"reproduce {words}")
    assert (status, out) == (2, "")
    assert expected in " ".join(err.split())
