"""Measuring the initial weights on the training images: which input size, and do the batch-norm statistics fit?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from rtmdet.config.recipe import Choice
from rtmdet.config.schema import ModelConfig
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.models.norm_statistics import agreement, lack_statistics, recalibrate
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.runs.plain_images import plain_batches, plain_images, spread
from rtmdet.training.input_size import (
    MOST_SMALL,
    SMALL_SIDE,
    best_overlaps,
    climb,
    fit_shape,
    least_side,
    mean_over_classes,
    side_for_boxes,
)
from rtmdet.weights.load import LoadedWeights, load_weights

PROBE_IMAGES = 24  # with objects
AGREEMENT_IMAGES = 16
MODES = "correlation of the feature maps in training and evaluation mode"
LEAST_AGREEMENT = 0.3  # of training and evaluation mode; below it, training mode destroys what was learned


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """A detector whose neck and head are trained, in evaluation mode, and the training images to measure it on."""

    model: RTMDet
    dataset: CocoDataset
    device: torch.device

    @classmethod
    def build(
        cls, weights: LoadedWeights, settings: ModelConfig, dataset: CocoDataset, device: torch.device
    ) -> FirstWeights:
        """Load the weights into the run's model with the classes of the file. Raises InputError."""
        classes = weights.num_classes or len(dataset.classes)
        with torch.random.fork_rng(devices=[]):  # the run draws its own initial weights
            model = build_rtmdet(settings.size, classes, backbone=settings.backbone)
        load_weights(model, weights)
        return cls(model.eval().to(device).to(memory_format=torch.channels_last), dataset, device)

    def choose_input_size(self) -> Choice:
        """The size that suits the objects, or another one at which these weights localize them clearly better."""
        start, reason = side_and_reason(self.dataset)
        indices = spread([i for i in range(len(self.dataset)) if len(self.dataset.truth(i)[1])], PROBE_IMAGES)
        side, overlaps = climb(start, partial(self._overlap, indices))
        measured = ", ".join(f"{overlap:.2f} at {side} px" for side, overlap in overlaps.items())
        return size_choice(
            side, self.dataset, f"{reason}; the weights' best boxes overlap the objects with IoU {measured}"
        )

    def _overlap(self, indices: Sequence[int], side: int) -> float:
        values, labels = [], []
        for batch in plain_batches(self.dataset, (side, side), indices, batch_size=1):
            with torch.no_grad():
                outputs = self.model(batch.images.to(self.device))
            values += best_overlaps(outputs, batch.targets, (side, side))
            labels += [target.labels for target in batch.targets]
        return mean_over_classes(torch.cat(values).cpu().numpy(), torch.cat(labels).numpy())

    def choose_norm_statistics(self, input_size: tuple[int, int], batch_size: int) -> Choice:
        """How to treat the batch-norm statistics, from how well training and evaluation mode agree.

        May replace the statistics of this model, so call it last.
        """
        batch_size = min(batch_size, AGREEMENT_IMAGES)
        found = norm_agreement(self.model, self._images(input_size, batch_size))
        if lack_statistics(self.model):
            why = f"the file has no batch-norm statistics (some exports drop them): {MODES} {found:.2f}"
        elif found >= LEAST_AGREEMENT:
            why = f"the batch-norm statistics fit these images: {MODES} {found:.2f}"
            return Choice("model.norm_statistics", "keep", why)
        else:
            why = f"the batch-norm statistics do not fit these images: {MODES} {found:.2f}"
        recalibrate(self.model, self.model, self._images(input_size, batch_size))
        after = norm_agreement(self.model, self._images(input_size, batch_size))
        why += f", {after:.2f} with statistics measured on these images"
        if after < LEAST_AGREEMENT:
            return Choice("model.norm_statistics", "freeze", f"{why}, still too low with batches of {batch_size}")
        return Choice("model.norm_statistics", "recalibrate", why)

    def _images(self, input_size: tuple[int, int], batch_size: int) -> Iterator[Tensor]:
        indices = spread(range(len(self.dataset)), AGREEMENT_IMAGES)
        return plain_images(self.dataset, input_size, indices, batch_size=batch_size, device=self.device)


def norm_agreement(model: RTMDet, images: Iterable[Tensor], *, frozen: Sequence[nn.Module] = ()) -> float:
    """Correlation of the neck's feature maps in training and evaluation mode, at most 1."""

    def maps(batch: Tensor) -> Sequence[Tensor]:
        return model.neck(model.backbone(model.normalize(batch)))

    return agreement(model, maps, images, frozen=frozen)


def size_from_boxes(dataset: CocoDataset) -> Choice:
    """The input size from the size of the objects alone, without a detector to measure."""
    side, reason = side_and_reason(dataset)
    return size_choice(side, dataset, reason)


def side_and_reason(dataset: CocoDataset) -> tuple[int, str]:
    """The longer side of the input that suits the size of the objects, and why."""
    side, smallest, pixels = side_for_boxes(*relative_sizes(dataset))
    return side, f"at {side} px, 90 % of the {dataset.classes[smallest]} objects measure {pixels:.0f} px or more"


def size_choice(side: int, dataset: CocoDataset, reason: str) -> Choice:
    """The input size for a longer side, enlarged if many objects would be too small for any detector."""
    least, share = least_side(*relative_sizes(dataset))
    if least > side:
        side, reason = least, f"{reason}; enlarged because many objects are small"
    if share > MOST_SMALL:
        reason += (
            f"; {share:.0%} of the objects of one class are still under {SMALL_SIDE:g} px: cut the photos into tiles"
        )
    shapes = [dataset.truth(index)[0].original_size for index in range(len(dataset))]
    return Choice("data.input_size", list(fit_shape(side, shapes)), reason)


def relative_sizes(dataset: CocoDataset) -> tuple[np.ndarray, np.ndarray]:
    """Square roots of the areas of all objects (N,), as fractions of their image's longer side; labels (N,)."""
    sizes, labels = [], []
    for index in range(len(dataset)):
        meta, truth = dataset.truth(index)
        x1, y1, x2, y2 = truth.boxes.T
        areas = (x2 - x1) * (y2 - y1)
        sizes.append(np.sqrt(areas) / max(meta.original_size))
        labels.append(truth.labels)
    return np.concatenate(sizes), np.concatenate(labels)
