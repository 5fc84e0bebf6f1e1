"""What the figures were measured on, and measurements that need a process of their own."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def about(*packages: str) -> dict[str, Any]:
    """Processor, cores, memory, versions of the packages, and the commit."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "commit": commit(),
    }


def processor() -> str:
    """Its name, as the system tells it."""
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def commit() -> str:
    """The commit checked out, with a + where a source file differs from it; empty outside a clone."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return ""
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src", "benchmarks/*.py"], capture_output=True)
    return head.stdout.strip() + ("+" if changed.returncode else "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def peak_gb() -> float:
    """The most memory this process ever held, in 1e9 bytes, pages of mapped files included."""
    status = Path("/proc/self/status")
    # getrusage counts what the parent held when it forked, too; VmHWM starts with this program.
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def in_child(script: str, *arguments: str) -> dict[str, Any]:
    """Run a benchmark's script again as a process of its own; what it prints last is JSON."""
    done = subprocess.run([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def seconds(call: Callable[[], object]) -> float:
    """Of the clock."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def write(name: str, figures: dict[str, Any]) -> None:
    """Into benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written: {file.relative_to(ROOT)}")
