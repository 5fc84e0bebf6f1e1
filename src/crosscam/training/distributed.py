"""Several processes, started by torchrun: who am I, and which part of a batch is mine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray


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


@contextmanager
def joined_world() -> Iterator[World]:
    """The processes that torchrun started, joined for the time of the block; one process otherwise."""
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
    finally:
        if joined_here:
            dist.destroy_process_group()


def is_first_process() -> bool:
    """Whether this is the process that shows and writes; known before the processes have joined."""
    return int(os.environ.get("RANK", "0")) == 0
