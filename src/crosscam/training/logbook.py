"""What a training writes down: ``metrics.jsonl``, one line an epoch, and TensorBoard if it is installed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from crosscam.errors import CheckpointError, TrainingError
from crosscam.system.files import cannot_write, write_text
from crosscam.system.json_text import parse_json
from crosscam.system.names import is_unicode
from crosscam.training.checkpoint import RESUME, write_atomically

METRICS = "metrics.jsonl"
Record = Mapping[str, float]


class Logbook:
    """Appends one record an epoch.

    Args:
        folder: the run folder.
        keep_epochs: epochs of an interrupted training that stay; later lines are taken out, since they come again.
    """

    def __init__(self, folder: Path, keep_epochs: int = 0) -> None:
        self.path = folder / METRICS
        kept = [r for r in read_history(folder) if r["epoch"] <= keep_epochs]
        text = "".join(json.dumps(r) + "\n" for r in kept)
        write_atomically(self.path, lambda path: write_text(path, text))
        self._board: Any = None
        # TensorBoard takes no path that is not UTF-8; all that it shows is in metrics.jsonl, too.
        if find_spec("tensorboard") and is_unicode(folder):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=keep_epochs + 1)

    def write(self, record: Record) -> None:
        """Append one epoch; it is on the disk when this returns.

        Raises:
            TrainingError: the disk is full or cannot be written.
        """
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(dict(record)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error, RESUME, TrainingError) from error
        if self._board is not None:
            for name, value in record.items():
                self._board.add_scalar(name, value, record["epoch"])
            self._board.flush()

    def __enter__(self) -> Logbook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()


def read_history(folder: Path) -> list[dict[str, float]]:
    """The epochs of a run folder, oldest first; a last line that a kill left torn is dropped.

    Raises:
        CheckpointError: a line in the middle is damaged.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is damaged ({error}). Remove it; only its curve is lost.") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line)
            record["epoch"] + 0
            records.append(record)
        except (ValueError, TypeError, LookupError) as error:
            if number == len(lines):
                break
            raise CheckpointError(f"{path}, line {number} is damaged ({error}). Take the line out.") from error
    return records
