"""How threads wait for each other; must be settled before torch is imported.

OpenMP's threads spin while they wait, some milliseconds by default. On cores that nothing else needs, that saves a
wake-up. Beside other work they spin away the very time that the thread they wait for would need, and a training takes
several times as long. A short spin keeps most of the first and avoids the second: ``benchmarks/busy.py``.
"""

from __future__ import annotations

import os

POLICY, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
# Some microseconds in place of milliseconds. Without any, describing one image takes a third longer on quiet cores.
SHORT = "3000"
# Any of these says that the user has thought about it.
_NAMES = (POLICY, SPINS, "KMP_BLOCKTIME")


def wait_politely() -> None:
    """Let OpenMP's threads sleep after a short spin, unless the user's environment says how they shall wait."""
    if not any(name in os.environ for name in _NAMES):
        os.environ[POLICY] = "passive"  # for runtimes other than GNU's
        os.environ[SPINS] = SHORT
