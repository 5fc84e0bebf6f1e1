"""Several processes, started by torchrun: rank and size, a process's part of a batch, and loss of a process."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from crosscam.errors import BusyError, CrosscamError, TrainingError
from crosscam.system.locks import only_writer

PATIENCE = "CROSSCAM_PATIENCE"
PATIENCE_SECONDS = 600.0
LONGEST = 1e9
SIGNS_OF_LOSS = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "timed out", "timeout")


@dataclass(frozen=True)
class Split:
    """How a batch is divided: images of each process, and this one's place; one count alone is all of it for each."""

    counts: tuple[int, ...]
    place: int = 0

    @property
    def shared(self) -> bool:
        """Whether others have other images."""
        return len(self.counts) > 1

    @property
    def total(self) -> int:
        """Images of the whole batch."""
        return sum(self.counts)

    @property
    def rows(self) -> slice:
        """Where this process's images stand in the batch."""
        start = sum(self.counts[: self.place])
        return slice(start, start + self.counts[self.place])


@dataclass(frozen=True)
class World:
    """This process among all: its rank (rank 0 writes), their number, and the device where this one computes."""

    rank: int
    size: int
    device: torch.device

    def split(self, images: int, group: int) -> Split:
        """How a batch is divided: whole groups of K images, so that no identity is torn apart.

        A batch that is too small for that, as the last one of an epoch can be, is computed by every process in full.
        """
        groups = images // group
        if groups < self.size or images < 2 * self.size:
            return Split((images,))
        return self.part(images, group)

    def part(self, items: int, group: int) -> Split:
        """How any number of items is divided: whole groups in order, the last one cut; a process may get none."""
        groups = np.array_split(np.arange(-(-items // group)), self.size)
        ends = np.minimum(np.cumsum([len(g) for g in groups]) * group, items)
        return Split(tuple(np.diff(ends, prepend=0).tolist()), self.rank)

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all of them must ask."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def same(self, numbers: Sequence[int]) -> bool:
        """Whether all processes have these same numbers; all of them must ask."""
        if self.size == 1:
            return True
        # The largest of x and of -x are those of every process only if all are equal.
        mine = torch.tensor([*numbers, *(-n for n in numbers)], dtype=torch.int64, device=self.device)
        largest = mine.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return not self.any(not torch.equal(mine, largest))

    @contextmanager
    def only_writer(self, place: Path, *, folder: bool = False) -> Iterator[None]:
        """:func:`crosscam.system.locks.only_writer` for all processes, taken by the first; all of them must ask."""
        with ExitStack() as stack:
            refused: CrosscamError | None = None
            if self.rank == 0:
                try:
                    stack.enter_context(only_writer(place, folder=folder))
                except CrosscamError as error:
                    refused = error
            if self.any(refused is not None):
                raise refused or BusyError(f"{place} cannot be written: the first process says why.")
            yield

    def take_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of the first process, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def collect(self, rows: NDArray[np.float32], split: Split) -> NDArray[np.float32] | None:
        """The (n, D) rows of all processes in their order, in the first one; None in the others. All must ask."""
        if self.size == 1:
            return rows
        if self.rank:
            if len(rows):
                dist.send(torch.from_numpy(rows).to(self.device), 0)
            return None
        whole = np.empty((split.total, rows.shape[1]), np.float32)
        whole[split.rows] = rows
        for rank, count in enumerate(split.counts):
            if rank and count:
                received = torch.empty((count, rows.shape[1]), device=self.device)
                dist.recv(received, rank)
                whole[Split(split.counts, rank).rows] = received.cpu().numpy()
        return whole


ALONE = World(0, 1, torch.device("cpu"))


@contextmanager
def joined_world() -> Iterator[World]:
    """The processes that torchrun started, joined for the time of the block; one process otherwise.

    A block within a block is of the same world. Whatever used the group must be gone when the outermost block ends: a
    wrapped network that outlives it, in the frames of an exception or in a cycle of references, can end the process
    with 'terminate called' when the interpreter closes.

    Raises:
        TrainingError: another process is lost, or silent for ten minutes (``CROSSCAM_PATIENCE``, in seconds).
    """
    size = num_processes()
    rank = int(os.environ.get("RANK", "0"))
    device = _own_device()
    joined_here = size > 1 and not dist.is_initialized()
    try:
        if joined_here:
            _join(device)
        yield World(rank, size, device)
    except BaseException as error:
        if not joined_here:
            raise
        traceback.clear_frames(error.__traceback__)
        if _is_loss(error):
            _outlive_the_launcher()
            raise TrainingError(_loss_line(size, error)) from error
        raise
    finally:
        if joined_here and dist.is_initialized():
            gc.collect()
            dist.destroy_process_group()


def _own_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise TrainingError(
            f"Process {local + 1} of this machine has no GPU: it has {count}. Start torchrun with "
            f"--nproc-per-node {count}."
        )
    device = torch.device("cuda", local)
    torch.cuda.set_device(device)
    return device


def _join(device: torch.device) -> None:
    text = os.environ.get(PATIENCE, "")
    try:
        seconds = float(text or PATIENCE_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < LONGEST:
        raise TrainingError(f"{PATIENCE}={text}: expected a number of seconds greater than 0.")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=seconds))


def _is_loss(error: BaseException) -> bool:
    """Whether a collective operation failed; torch has no exception of its own for gloo's failures."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in SIGNS_OF_LOSS)


def _loss_line(size: int, error: BaseException) -> str:
    # gloo's lines begin with a place in its own code, and go on with advice.
    reason = re.sub(r"^\[\S+\] ", "", str(error)).split("\n")[0].split(". ")[0]
    return (
        f"Another of the {size} processes is lost or silent ({reason[:120]}). Its last lines, or torchrun's report, "
        "say why. What is saved is whole: go on by the same command (train: add --resume), with any number of them."
    )


def _outlive_the_launcher() -> None:
    """torchrun ends all processes as soon as one is gone; the line that says so must be out before."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def num_processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this is the process that shows and writes; known before the processes have joined."""
    return int(os.environ.get("RANK", "0")) == 0
