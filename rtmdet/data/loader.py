"""From samples to batches: the order of an epoch, loader processes, collation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from rtmdet.data.pipelines import EvaluationSamples, TrainingSamples
from rtmdet.structures import Batch, InputError, Sample, Target


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of one size -> a batch whose images (B, 3, H, W) lie channels-last in memory."""
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    targets = [Target(torch.from_numpy(s.boxes).float(), torch.from_numpy(s.labels)) for s in samples]
    return Batch(images, targets, [sample.meta for sample in samples])


class TrainingLoader:
    """Batches of one epoch; `set_epoch` chooses it, and with it order, augmentation and stage.

    The last batch holds what is left over. The number of processes changes the speed, not the samples.
    """

    def __init__(self, samples: TrainingSamples, *, batch_size: int, workers: int) -> None:
        self._batches = _EpochBatches(len(samples), batch_size)
        self._loader = _build_loader(samples, self._batches, workers)

    def __len__(self) -> int:
        return len(self._batches)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, counted from 0."""
        self._batches.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        return _raise_input_errors(self._loader)


class EvaluationLoader:
    """Batches of all images in the data set's order."""

    def __init__(self, samples: EvaluationSamples, *, batch_size: int, workers: int) -> None:
        indices = range(len(samples))
        self._batches = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)]
        self._loader = _build_loader(samples, self._batches, workers)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return _raise_input_errors(self._loader)


class _EpochBatches(Sampler[list[tuple[int, int]]]):
    """Lists of (epoch, position)."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.epoch = 0
        self._count = count
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-self._count // self._batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for start in range(0, self._count, self._batch_size):
            stop = min(start + self._batch_size, self._count)
            yield [(self.epoch, position) for position in range(start, stop)]


class _Guarded(Dataset[Sample | InputError]):
    """Hands errors on as values: a loader process would wrap them into a page of traceback."""

    def __init__(self, samples: TrainingSamples | EvaluationSamples) -> None:
        self._samples = samples

    def __getitem__(self, key: int | tuple[int, int]) -> Sample | InputError:
        try:
            return self._samples[key]  # type: ignore[index]
        except InputError as error:
            return error


def _collate_guarded(samples: Sequence[Sample | InputError]) -> Batch | InputError:
    errors = [sample for sample in samples if isinstance(sample, InputError)]
    return errors[0] if errors else collate([sample for sample in samples if isinstance(sample, Sample)])


def _raise_input_errors(loader: DataLoader) -> Iterator[Batch]:
    for batch in loader:
        if isinstance(batch, InputError):
            raise InputError(*batch.args)  # a new one: its traceback would keep the loader processes alive
        yield batch


def _build_loader(
    samples: TrainingSamples | EvaluationSamples, batches: Sequence | Sampler, workers: int
) -> DataLoader:
    return DataLoader(
        _Guarded(samples),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate_guarded,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # the processes are the parallelism
