"""Training images without augmentation at the network's input size, to examine weights. Dimension legend: B batch."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rtmdet.core.files import spread
from rtmdet.core.structures import Batch
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import collate
from rtmdet.data.samples import EvaluationSamples


def plain_batches(
    dataset: CocoDataset, input_size: tuple[int, int], indices: Sequence[int], *, batch_size: int
) -> Iterator[Batch]:
    """Batches of these images, letterboxed, boxes in input pixels.

    A smaller last batch is left out, unless it is the only one.
    """
    samples = EvaluationSamples(dataset, input_size=input_size)
    for first in range(0, len(indices), batch_size):
        part = indices[first : first + batch_size]
        if len(part) == batch_size or first == 0:
            yield collate([samples[index] for index in part])


def plain_images(
    dataset: CocoDataset, input_size: tuple[int, int], count: int, *, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """At most `count` images (B, 3, H, W), evenly spread over the data set, on a device."""
    for batch in plain_batches(dataset, input_size, spread(range(len(dataset)), count), batch_size=batch_size):
        yield batch.images.to(device)
