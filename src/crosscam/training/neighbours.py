"""Whether other work takes the processor from a training."""

from __future__ import annotations

import torch

from crosscam.system.cores import time_got

# Less says nothing: a second of waiting is no news.
LEAST_SECONDS = 5.0
LEAST_SHARE = 0.6


class Neighbours:
    """Watches how much of the processor that it asks for this process gets; it says so once."""

    def __init__(self) -> None:
        self._before = time_got()
        self._told = False

    def noticed(self) -> str | None:
        """A sentence for the user the first time that far less came than was asked for; None otherwise."""
        now = time_got()
        if self._told or now is None or self._before is None:
            return None
        ran, waited = (b - a for a, b in zip(self._before, now, strict=True))
        if ran + waited < LEAST_SECONDS or ran >= LEAST_SHARE * (ran + waited):
            return None
        self._told = True
        share = 100 * ran / (ran + waited)
        fewer = " OMP_NUM_THREADS=1 may then be faster." if torch.get_num_threads() > 1 else ""
        return (
            f"Other work on this machine takes the processor: the training got {share:.0f} % of the time it asked for, "
            f"and lasts accordingly longer.{fewer}"
        )
