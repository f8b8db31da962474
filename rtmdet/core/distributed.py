"""The processes of one run (torchrun): the process group, and the collective operations that the code needs.

With a single process nothing is sent. gloo connects processes on the CPU, nccl those on CUDA.
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rtmdet.core.errors import InputError

Value = TypeVar("Value")
_groups = itertools.count()  # every process opens the same groups in the same order
TIMEOUT = timedelta(hours=2)  # the others wait while the main process evaluates or saves


def started_processes() -> int:
    """How many processes torchrun started for this run; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Number of this process on its machine: the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes that torchrun started, if any, until the end of the block."""
    if started_processes() == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, number, size = _meeting_point()
    # Keys of its own for each group: those of an ended group lead to closed connections.
    store = dist.PrefixStore(f"group {next(_groups)}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


@functools.cache
def _meeting_point() -> tuple[dist.Store, int, int]:
    """The store in which processes find each other, rank and number of processes; it serves all groups of a run."""
    return next(dist.rendezvous("env://", timeout=TIMEOUT))


def lost_another(error: RuntimeError) -> bool:
    """Whether an error of torch means that another process ended, which has then reported why."""
    lost = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return world_size() > 1 and (isinstance(error, dist.DistError) or any(text in str(error) for text in lost))


def world_size() -> int:
    """Number of processes of the run."""
    return dist.get_world_size() if _connected() else 1


def rank() -> int:
    """Number of this process, 0 .. world_size - 1; torchrun's number before they are connected."""
    return dist.get_rank() if _connected() else int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Whether this process is the one that writes files and prints."""
    return rank() == 0


def _connected() -> bool:
    return dist.is_available() and dist.is_initialized()


@torch.no_grad()
def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same on each."""
    if world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on at least one process; `device` is used for communication."""
    if world_size() == 1:
        return flag
    return bool(sum_over_processes(torch.tensor(float(flag), device=device)).item())


def gather(value: Value) -> list[Value]:
    """Every process's value, in the order of the ranks, on each process; values are copied by pickling."""
    if world_size() == 1:
        return [value]
    values: list[Value] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def first_on_each_machine(work: Callable[[], Value]) -> Value:
    """The result of `work` in this process; the others of a machine begin when its first process is done.

    For work that downloads: the others find the file in the cache. All processes of the run must call this, connected
    or not. If `work` raises InputError in the first process of any machine, it is raised in all processes.
    """
    if started_processes() == 1:
        return work()
    if not _connected():
        with process_group(torch.device("cpu")):
            return first_on_each_machine(work)
    done, fault = [], ""
    if local_rank() == 0:
        try:
            done.append(work())
        except InputError as error:
            fault = str(error)
    if faults := list(filter(None, gather(fault))):
        raise InputError(faults[0])
    return done[0] if done else work()


@torch.no_grad()
def copy_from_main(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors of every process with those of the main process."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
