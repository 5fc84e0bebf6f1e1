"""Several processes, started by torchrun: who am I, and which part of a batch is mine."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among all.

    Attributes:
        rank: 0 to size - 1; rank 0 writes.
        size: number of processes.
        device: where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    def share(self, batch: NDArray[np.int64], group: int) -> NDArray[np.int64]:
        """This process's part of a global batch: whole groups of K images, so that no identity is torn apart."""
        groups = batch.reshape(-1, group)
        return np.array_split(groups, self.size)[self.rank].reshape(-1)

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

    def take_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of the first process, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)


@contextmanager
def joined_world() -> Iterator[World]:
    """The processes that torchrun started, joined for the time of the block; one process otherwise.

    Whatever used the group must be gone when the block ends: a wrapped network that outlives it, in the frames of an
    exception or in a cycle of references, can end the process with 'terminate called' when the interpreter closes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    joined_here = size > 1 and not dist.is_initialized()
    if joined_here:
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield World(rank, size, device)
    except BaseException as error:
        if joined_here:
            traceback.clear_frames(error.__traceback__)
        raise
    finally:
        if joined_here:
            gc.collect()
            dist.destroy_process_group()


def is_first_process() -> bool:
    """Whether this is the process that shows and writes; known before the processes have joined."""
    return int(os.environ.get("RANK", "0")) == 0
