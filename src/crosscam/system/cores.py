"""How many cores this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Cores that this process may use, at least 1; where the system cannot tell that, all that the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return max(1, len(affinity(0)) if affinity else os.cpu_count() or 1)


def time_got() -> tuple[float, float] | None:
    """Seconds that all threads of this process ran, and seconds that they were ready and had to wait for a core.

    None where the system does not tell (only Linux does).
    """
    ran = waited = 0
    try:
        for thread in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{thread}/schedstat", encoding="ascii") as file:
                    on_core, ready = file.read().split()[:2]
            except FileNotFoundError:  # it has just ended
                continue
            ran, waited = ran + int(on_core), waited + int(ready)
    except (OSError, ValueError):
        return None
    return ran / 1e9, waited / 1e9
