"""The processes of one run (torchrun): the process group, and the collective operations that the code needs.

With a single process nothing is sent. gloo connects processes on the CPU, nccl those on CUDA.
"""

import functools
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.processes import handled_signals, local_rank, started_processes, started_rank
from rtmdet.core.wording import one_line

Value = TypeVar("Value")
_group = 0  # the number of the last group; every process opens the same ones in the same order
TIMEOUT = timedelta(hours=2)  # the others wait while the main process evaluates or saves
MEETING = timedelta(minutes=10)  # until all processes have started
TELLING = 3.0  # seconds in which a process that fails says so
REPORTS = "reports"  # key of the number of faults that processes have reported


class StoppedByAnother(Exception):  # noqa: N818 - reported elsewhere
    """Another process of the run failed and reports why."""


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes that torchrun started, if any, until the end of the block."""
    if started_processes() == 1:
        yield
        return
    global _group
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        # Signals end the process at once: Python's own handlers wait while torch waits.
        with handled_signals(signal.SIG_DFL, signal.SIGTERM, signal.SIGINT):
            store, number, size = _meeting_point()
            # Keys of its own for each group: those of an ended group lead to closed connections.
            _group += 1
            store = dist.PrefixStore(f"group {_group}", store)
            dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=TIMEOUT)
    except (ValueError, dist.DistError) as error:
        raise InputError(
            f"WORLD_SIZE is {started_processes()}, but the processes cannot be connected ({one_line(error)}): start "
            "them with torchrun, or unset WORLD_SIZE"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


@functools.cache
def _meeting_point() -> tuple[dist.Store, int, int]:
    """The store in which processes find each other, rank and number of processes; it serves all groups of a run."""
    return next(dist.rendezvous("env://", timeout=MEETING))


@contextmanager
def told_once() -> Iterator[None]:
    """If several processes raise the same InputError, only the first does; the others raise StoppedByAnother.

    That is also raised where a process waits for another that has reported why it ended. If that one has not, as when
    it was killed, InputError says so.
    """
    try:
        yield
    except InputError as error:
        if _is_first(str(error)):
            raise
        raise StoppedByAnother from error
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        if not _was_told() and _is_first("lost"):
            raise InputError(
                "another process of the run died without reporting an error, perhaps killed for lack of memory "
                f"({one_line(error)}): continue with --resume"
            ) from error
        raise StoppedByAnother from error


def _lost_another(error: RuntimeError) -> bool:
    """Whether an error of torch means that another process ended."""
    lost = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return world_size() > 1 and (isinstance(error, dist.DistError) or any(text in str(error) for text in lost))


def _is_first(text: str) -> bool:
    """Note a fault; whether no other process has reported the same."""
    if not _connected():
        return True
    store, *_ = _meeting_point()
    try:
        store.add(f"{REPORTS} {_group}", 1)
        return store.add(f"report {_group} {text}", 1) == 1
    except RuntimeError:  # the process with the store ended
        return True


def _was_told() -> bool:
    """Whether a process has reported a fault, or does so soon."""
    store, *_ = _meeting_point()
    end = time.monotonic() + TELLING
    try:
        while not store.add(f"{REPORTS} {_group}", 0):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
    except RuntimeError:  # the process with the store ended
        return True
    return True


def world_size() -> int:
    """Number of processes of the run."""
    return dist.get_world_size() if _connected() else 1


def rank() -> int:
    """Number of this process, 0 .. world_size - 1."""
    return dist.get_rank() if _connected() else 0


def is_main_process() -> bool:
    """Whether this process is the one that writes files and prints; by torchrun's number until they are connected."""
    return (rank() if _connected() else started_rank()) == 0


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
        with process_group(torch.device("cpu")), told_once():
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


def from_main(work: Callable[[], Value]) -> Value:
    """The result of `work`, which the main process alone does, on each process; it is copied by pickling.

    All processes of the run must call this, connected or not. If `work` raises InputError, the others raise
    StoppedByAnother.
    """
    if started_processes() == 1:
        return work()
    if not _connected():
        with process_group(torch.device("cpu")), told_once():
            return from_main(work)
    done: list[Value] = []
    try:
        if is_main_process():
            done.append(work())
    except BaseException:
        with suppress(RuntimeError):  # of another process that ended
            gather(done)
        raise
    everything = gather(done)
    if not everything[0]:
        raise StoppedByAnother
    return everything[0][0]


@torch.no_grad()
def copy_from_main(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors of every process with those of the main process."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
