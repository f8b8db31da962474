"""Batches of samples: the order of an epoch, loader processes, collation.

Dimension legend: B images of H x W, N objects.
"""

import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.queues import Queue
from types import FrameType

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rtmdet.core.console import write_above_bar
from rtmdet.core.errors import InputError
from rtmdet.core.memory_file import MemoryFile
from rtmdet.core.processes import handled_signals, hangup, warning_signal
from rtmdet.core.structures import Batch, ImageMeta, Sample, Target
from rtmdet.core.wording import one_line
from rtmdet.data.samples import EvaluationSamples, TrainingSamples

# More loader processes than cores are the user's choice. Set once, as in images/reading.
warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)

_Boxes = list[tuple[np.ndarray, np.ndarray]]  # (N, 4) float32 and (N,) int64 of each image
PREFETCHED = 2  # batches per loader process, made or being made
MOST_UNREADABLE = 0.01  # of the training images, but 2 in any case


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of one size -> a batch with images (B, 3, H, W) in channels-last memory format."""
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    truths = [sample.instances for sample in samples]
    targets = [Target(torch.from_numpy(truth.boxes).float(), torch.from_numpy(truth.labels)) for truth in truths]
    return Batch(images, targets, [sample.meta for sample in samples])


class TrainingLoader:
    """Batches of one epoch; `set_epoch` chooses the epoch, which sets order, augmentation and stage.

    The number of loader processes changes the speed, not the samples. Each of `world_size` training processes takes
    its part of every global batch of at most world_size x batch_size images.

    An image that cannot be read is replaced by others, with a warning; more than MOST_UNREADABLE raise InputError.

    Differs from mmdet: all batches of an epoch have nearly the same size. With few images a small last batch would be
    a considerable part of the steps, with batch norm statistics of perhaps a single image.
    """

    def __init__(
        self, samples: TrainingSamples, *, batch_size: int, workers: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self._batches = _EpochBatches(len(samples), batch_size, rank, world_size)
        self._count = len(samples.dataset)
        self._faults: set[str] = set()  # of images that could not be read
        if workers > 1:
            samples.share(PREFETCHED * workers * batch_size * world_size)
        self._loader = _build_loader(samples, self._batches, workers)

    def __len__(self) -> int:
        return len(self._batches)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch and its first batch, both counted from 0."""
        self._batches.epoch = epoch
        self._batches.start = start

    def __iter__(self) -> Iterator[Batch]:
        for batch, faults in _read(self._loader):
            for fault in faults:
                if fault not in self._faults:
                    write_above_bar(f"warning: {fault}; other images take its place", everywhere=True)
                    self._faults.add(fault)
            if len(self._faults) > max(self._count * MOST_UNREADABLE, 2):
                raise InputError(
                    f"{len(self._faults)} of {self._count} training images cannot be read, as the warnings say: copy "
                    "them again"
                )
            yield batch


class EvaluationLoader:
    """Batches of all images in the data set's order; each process takes every world_size-th image."""

    def __init__(
        self, samples: EvaluationSamples, *, batch_size: int, workers: int, rank: int = 0, world_size: int = 1
    ) -> None:
        indices = range(rank, len(samples), world_size)
        self._batches = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)]
        self._loader = _build_loader(samples, self._batches, workers)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for batch, _ in _read(self._loader))


class _EpochBatches(Sampler[list[tuple[int, int]]]):
    """Lists of (epoch, position): this process's part of each global batch, from batch `start` on."""

    def __init__(self, count: int, batch_size: int, rank: int, world_size: int) -> None:
        self.epoch = 0
        self.start = 0
        self._count = count
        self._joint_size = batch_size * world_size
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        return -(-self._count // self._joint_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in range(self.start, len(self)):
            first, end = (n * self._count // len(self) for n in (number, number + 1))
            size = max(end - first, self._world_size)  # at least one image per process
            mine, next_one = (size * rank // self._world_size for rank in (self._rank, self._rank + 1))
            yield [(self.epoch, (first + i) % self._count) for i in range(mine, next_one)]


@dataclass(frozen=True, slots=True, eq=False)
class SentBatch:
    """A batch that is pickled as one file in memory: faster than torch's way, and with equal tensors.

    torch would send each tensor as a file in /dev/shm, which is often too small. Where the system has no files in
    memory, it is sent so.
    """

    batch: Batch

    def pin_memory(self) -> "SentBatch":
        """The same in page-locked memory."""
        return SentBatch(self.batch.pin_memory())

    def __reduce__(self) -> tuple:
        images = self.batch.images.permute(0, 2, 3, 1)  # (B, H, W, 3), as it is in memory
        try:
            memory = MemoryFile(images.nbytes)
        except OSError:
            return SentBatch, (self.batch,)
        memory.bytes[:] = images.numpy().reshape(-1)
        boxes = [(target.boxes.numpy(), target.labels.numpy()) for target in self.batch.targets]
        return _received, (memory, images.shape, boxes, self.batch.metas)


def _received(memory: MemoryFile, shape: torch.Size, boxes: _Boxes, metas: list[ImageMeta]) -> SentBatch:
    images: Tensor = torch.from_numpy(memory.bytes).view(shape).permute(0, 3, 1, 2)
    targets = [Target(torch.from_numpy(corners), torch.from_numpy(labels)) for corners, labels in boxes]
    return SentBatch(Batch(images, targets, metas))


_Made = tuple[SentBatch | InputError, list[str]]  # and the faults of training images that others replaced


class _BatchMaker(Dataset[_Made]):
    """Makes a whole batch; returns an InputError instead of raising it: a loader process would add its traceback."""

    def __init__(self, samples: TrainingSamples | EvaluationSamples) -> None:
        self._samples = samples

    def __getitem__(self, keys: Sequence[int] | Sequence[tuple[int, int]]) -> _Made:
        faults: list[str] = []
        if isinstance(self._samples, TrainingSamples):
            self._samples.unreadable = faults
        try:
            return SentBatch(collate([self._samples[key] for key in keys])), faults  # type: ignore[index]
        except InputError as error:
            return error, faults


def _read(loader: DataLoader) -> Iterator[tuple[Batch, list[str]]]:
    """All batches, each with the faults of images that others replaced; raises InputError where one has none."""
    with _ended_processes_reported():
        batches = iter(loader)
    while True:
        with _ended_processes_reported():
            made, faults = next(batches, (None, []))
        if made is None:
            return
        if isinstance(made, InputError):
            raise InputError(*made.args)  # a new one: the original's traceback keeps the loader processes alive
        yield made.batch, faults


@contextmanager
def _ended_processes_reported() -> Iterator[None]:
    """Raise InputError if a loader process has ended or ends in the block.

    torch's handler of SIGCHLD, set with the first loader processes, raises that error wherever the main process is,
    also inside a step or a save. So one that does so is set for this block alone, after a look for processes that
    ended before.
    """
    before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None  # Windows has none

    def handle(number: int, frame: FrameType | None) -> None:
        torch._C._error_if_any_worker_fails()
        if callable(before):
            before(number, frame)

    try:
        with nullcontext() if before is None else handled_signals(handle, signal.SIGCHLD):
            torch._C._error_if_any_worker_fails()
            yield
    except (RuntimeError, BrokenPipeError) as error:  # the second where one ends before it has read its data
        if isinstance(error, RuntimeError) and "DataLoader worker (pid" not in str(error):
            raise
        raise InputError(
            f"a process that loads images ended ({one_line(error)}): what it printed says why; without that, the "
            "memory may be full: give fewer processes (data.workers; 0: none)"
        ) from error


def _build_loader(
    samples: TrainingSamples | EvaluationSamples, batches: Sequence | Sampler, workers: int
) -> DataLoader:
    return DataLoader(
        _BatchMaker(samples),
        sampler=batches,
        batch_size=None,  # batches are made by the data set
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # torch's global generator must not advance: a resumed run restores its state
    )


def _start_worker(_: int) -> None:
    # Python's own drops the batch, which is then awaited forever.
    Queue._on_queue_feeder_error = staticmethod(_end_process)  # type: ignore[attr-defined]
    cv2.setNumThreads(0)  # the loader processes already use all cores
    for number in (signal.SIGINT, *hangup(), *warning_signal()):  # they may reach all processes
        signal.signal(number, signal.SIG_IGN)  # the training process handles them
    if hasattr(os, "setsid"):
        os.setsid()  # leave the process group, to which torchrun, shells and `timeout` send SIGTERM


def _end_process(error: Exception, _: object) -> None:
    os.write(2, f"error: a batch of images cannot be sent ({one_line(error)})\n".encode())
    os._exit(1)
