"""What the machine gives to this process: cores, time on them, freed memory, bf16; how threads wait."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def available_cores() -> int:
    """Cores that this process may use, at least 1; where the system cannot tell that, all that the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return max(1, len(affinity(0)) if affinity else os.cpu_count() or 1)


def time_got() -> tuple[float, float] | None:
    """Seconds that all threads of this process ran, and waited for a core; None where the system is not Linux."""
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


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory, which it hands back at every step by default; whether it agreed (others cannot)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
    except (OSError, AttributeError):
        return False


def chip_has_bf16(device: str | torch.device) -> bool:
    """Whether a device computes bf16 by instructions of its own; otherwise fp32 is as fast, and exact."""
    # Here alone: a process that only decodes needs neither the time nor the memory that torch takes.
    import torch

    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions of torch cannot tell; fp32 is always right.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def best_device() -> str:
    """A GPU, if torch finds one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# How threads wait for each other; must be settled before torch is imported. OpenMP's threads spin while they wait, some
# milliseconds by default. On cores that nothing else needs, that saves a wake-up. Beside other work they spin away the
# very time that the thread they wait for would need, and a training takes several times as long. A short spin keeps
# most of the first and avoids the second: ``benchmarks/busy.py``.
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
