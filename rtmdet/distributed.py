"""The few questions that code asks about the other processes of a run (torchrun); alone, all answers are trivial."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes of the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0 .. world_size - 1."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    """Whether this process is the one that writes files and prints."""
    return rank() == 0


@torch.no_grad()
def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, the same on each."""
    if world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / world_size()
