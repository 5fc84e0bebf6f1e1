"""Who is told how a training goes, and what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crosscam.data.loading import Progress


@dataclass(frozen=True)
class StepReport:
    """Where a training stands, for a progress bar.

    Attributes:
        epoch, epochs: the current one, 1-based, and all.
        batch, batches: done in this epoch, and all.
        loss: of the last batch.
        images_per_second: since this process began the epoch.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Listeners:
    """Who is told what; all optional.

    Attributes:
        reading: (images done, all) while images are decoded.
        step: after each batch.
        epoch: the record of each epoch, as in ``metrics.jsonl``.
        note: a sentence on the training, said once when it begins or goes on.
    """

    reading: Progress | None = None
    step: Callable[[StepReport], None] | None = None
    epoch: Callable[[Mapping[str, float]], None] | None = None
    note: Callable[[str], None] | None = None
