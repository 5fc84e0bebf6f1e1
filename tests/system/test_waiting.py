"""Threads that sleep while they wait, unless the user says otherwise, and what is said of a busy machine."""

import os
import subprocess
import sys

import pytest

from crosscam.training import callbacks
from crosscam.training.callbacks import Neighbors

LOOK = """
import os, sys
import {module}
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
"""
NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.mark.parametrize("module", ["crosscam", "crosscam.cli.main"])
@pytest.mark.parametrize(
    ("set_by_user", "expected"),
    [({}, "passive 3000"), ({"OMP_WAIT_POLICY": "active"}, "active None"), ({"GOMP_SPINCOUNT": "9"}, "None 9")],
)
def test_the_policy_is_set_unless_the_user_has_one(module: str, set_by_user: dict[str, str], expected: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in NAMES} | set_by_user
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(module=module)], capture_output=True, text=True, env=environment
    )
    assert done.stdout == f"{expected} False\n"


def test_it_is_set_before_torch_is_there() -> None:
    watch = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            print(os.environ.get('OMP_WAIT_POLICY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import crosscam.cli.main\n"
        "import torch\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in NAMES}
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[0] == "passive"


def test_a_busy_machine_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(0.0, 0.0), (1.0, 3.0), (80.0, 20.0), (80.0, 90.0), (81.0, 300.0)])
    monkeypatch.setattr(callbacks, "time_got", lambda: next(times))
    watch = Neighbors()
    assert watch.noticed() is None  # too early to tell
    assert watch.noticed() is None  # four fifths of the time
    assert "the training got 47 % of the time it asked for" in str(watch.noticed())
    assert watch.noticed() is None


def test_a_system_that_does_not_tell_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "time_got", lambda: None)
    assert Neighbors().noticed() is None
