"""Measuring first weights on the training images before a run: the input size, and the batch-norm statistics."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rtmdet.cli.plain_images import plain_batches, plain_images
from rtmdet.data.coco import CocoDataset
from rtmdet.models.norm_statistics import agreement, lack_statistics, recalibrate
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.openmmlab import LoadedWeights, load_weights
from rtmdet.structures import DenseOutputs
from rtmdet.training.input_size import (
    MOST_SMALL,
    SIDES,
    SMALL_SIDE,
    best_overlaps,
    choose_side,
    fit_shape,
    least_side,
    mean_over_classes,
    past_the_best,
)
from rtmdet.training.recipe import Choice

PROBE_IMAGES = 24
PROBE_SECONDS = 60.0  # larger sizes are not tried after this time
AGREEMENT_IMAGES = 32
ALIKE, UNLIKE = 0.9, 0.5  # agreement of training and evaluation mode: above the one nothing is done, below the other
MOST_BATCH = 8  # images of a batch of the comparison, at most


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """A detector whose neck and head are trained, and what to measure it on."""

    model: RTMDet
    dataset: CocoDataset  # training images

    @classmethod
    def build(cls, weights: LoadedWeights, size: str, dataset: CocoDataset) -> FirstWeights:
        """Load the weights into a model with the classes of the file, where it has some. Raises InputError."""
        classes = weights.num_classes or len(dataset.classes)
        model = build_rtmdet(size, classes, backbone=weights.backbone or None)
        load_weights(model, weights)
        return cls(model.eval().to(memory_format=torch.channels_last), dataset)

    def choose_input_size(self) -> Choice:
        """The input size at which these weights box the training objects best, the cheapest within the noise."""
        overlaps: dict[int, float] = {}
        began = time.monotonic()
        for side in SIDES:
            overlaps[side] = self._overlap(side)
            if past_the_best(overlaps) or time.monotonic() - began > PROBE_SECONDS:
                break
        measured = ", ".join(f"{side} px {overlap:.2f}" for side, overlap in overlaps.items())
        return size_choice(
            choose_side(overlaps), self.dataset, f"the first weights box these objects with IoU {measured}"
        )

    def _overlap(self, side: int) -> float:
        values, labels = [], []
        for batch in plain_batches(self.dataset, (side, side), count=PROBE_IMAGES, batch_size=1):
            with torch.no_grad():
                outputs = DenseOutputs(*self.model(batch.images))
            values += best_overlaps(outputs, batch.targets, (side, side))
            labels += [target.labels for target in batch.targets]
        return mean_over_classes(torch.cat(values).numpy(), torch.cat(labels).numpy())

    def choose_norm_statistics(self, input_size: tuple[int, int], batch_size: int) -> Choice:
        """What to do with the statistics of the batch norms, from how alike training and evaluation mode are."""
        found = self._agreement(input_size, batch_size)
        if lack_statistics(self.model):
            why = "the file's batch norms hold no statistics (all means 0, all variances 1), as after an export"
        elif found >= ALIKE:
            return Choice(
                "model.norm_statistics", "keep", f"training and evaluation mode agree: correlation {found:.2f}"
            )
        else:
            why = f"training and evaluation mode differ on these images: correlation {found:.2f}"
        images = plain_images(
            self.dataset, input_size, count=AGREEMENT_IMAGES, batch_size=MOST_BATCH, device=torch.device("cpu")
        )
        recalibrate(self.model, self.model, images)
        after = self._agreement(input_size, batch_size)
        if after < UNLIKE:
            why += f", {after:.2f} after measuring them again: batches of {batch_size} are too small"
            return Choice("model.norm_statistics", "freeze", why)
        return Choice("model.norm_statistics", "recalibrate", f"{why}; {after:.2f} after measuring them again")

    def _agreement(self, input_size: tuple[int, int], batch_size: int) -> float:
        images = plain_images(
            self.dataset,
            input_size,
            count=AGREEMENT_IMAGES,
            batch_size=min(batch_size, MOST_BATCH),
            device=torch.device("cpu"),
        )
        return norm_agreement(self.model, images)


def norm_agreement(model: RTMDet, images: Iterable[Tensor]) -> float:
    """How alike the neck's maps are in training and in evaluation mode, 1 at most."""
    return agreement(model, lambda batch: model.neck(model.backbone(model.normalize(batch))), images)


def size_choice(side: int, dataset: CocoDataset, reason: str) -> Choice:
    """The input size for a longer side, made larger where many objects would be too small for any detector."""
    metas = [dataset.boxes(index) for index in range(len(dataset))]
    sizes = np.concatenate([np.sqrt(areas(boxes)) / max(meta.original_size) for meta, boxes, _ in metas])
    least, share = least_side(sizes, np.concatenate([labels for _, _, labels in metas]))
    if least > side:
        side, reason = least, f"{reason}; larger because many objects are small"
    if share > MOST_SMALL:
        reason += f"; {share:.0%} of the objects of a class stay under {SMALL_SIDE:g} px: cut the photos into tiles"
    return Choice("data.input_size", list(fit_shape(side, [meta.original_size for meta, _, _ in metas])), reason)


def areas(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) xyxy -> (N,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
