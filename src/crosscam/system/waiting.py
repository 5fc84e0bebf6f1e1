"""How threads wait for each other; must be settled before torch is imported.

OpenMP's threads spin while they wait. On cores that nobody else wants that saves microseconds. Beside other work they
spin away the very time that the thread they wait for would need, and a training takes several times as long.
"""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"
# Any of these says that the user has thought about it.
_OTHERS = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_politely() -> None:
    """Let OpenMP's threads sleep while they wait, unless the user's environment says how they shall wait."""
    if not any(name in os.environ for name in (POLICY, *_OTHERS)):
        os.environ[POLICY] = "passive"
