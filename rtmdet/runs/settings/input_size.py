"""Choosing the input size that suits the data and the initial weights.

The size of the objects gives a first choice. A detector works best at about the pixel sizes that it was
trained on: the overlap of each object with the best class-agnostic box of the initial weights shows whether the
next size up or down is clearly better.
Dimension legend: B batch, K classes, N ground truths, D detections, H, W of a level.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rtmdet.config.recipe import Choice
from rtmdet.core.arrays import box_sizes
from rtmdet.core.backend import Selection
from rtmdet.core.boxes import pairwise_iou
from rtmdet.core.files import spread
from rtmdet.core.postprocess import postprocess
from rtmdet.core.structures import DenseOutputs, Target
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.windows import advise_tiles
from rtmdet.models.rtmdet import RTMDet
from rtmdet.runs.settings.plain_images import plain_batches

SIDES = (320, 416, 512, 640, 800, 960)  # pixels of the longer side, each about 1.25 times the one before
PROBE_IMAGES = 24  # with objects
PROPOSALS = 100  # boxes per image
LEAST_SCORE = 1e-4
TOLERANCE = 0.2  # relative loss of overlap that justifies another side; smaller values did not pay off
LEAST_OVERLAP = 0.1  # with less at every side the weights know no such objects, and their boxes say nothing
SMALL_SIDE = 8.0  # pixels, the stride of the finest level; smaller objects are mostly missed
MOST_SMALL = 0.1  # share of a class's objects that may be smaller; of few objects more, see _small_shares
LARGEST_START = 640  # pixels: the usual training size; larger ones must be measured to be better
GOOD_SIZE = 18.0  # pixels of `box_sizes`: a little over two strides of the finest level
SQUARE = 0.98  # aspect ratio; nearer to 1 the input is square
SAME_SHAPE = 1.1  # largest aspect ratio / smallest


def choose_input_size(dataset: CocoDataset, detector: RTMDet | None, device: torch.device) -> Choice:
    """The size that suits the objects, or another one at which the detector localizes them clearly better.

    The trained `detector` is on the device and in evaluation mode; None: neck and head start from scratch.
    """
    dataset = dataset.without_reduced()  # with windows, these decide
    side, label, share = side_for_boxes(*relative_sizes(dataset))
    boxes = "all boxes" if share == 1 else f"{share:.0%} of the boxes of {dataset.classes[label]}"
    reason = f"at {side} px, {boxes} measure {GOOD_SIZE:.0f} px or more"
    if detector is not None:
        with_objects = [index for index in range(len(dataset)) if len(dataset.truth(index)[1])]
        images = spread(with_objects, PROBE_IMAGES)
        side, overlaps = climb(side, partial(mean_overlap, detector, dataset, images, device))
        measured = ", ".join(f"{overlap:.2f} at {side} px" for side, overlap in overlaps.items())
        known = max(overlaps.values()) >= LEAST_OVERLAP
        rule = "another size must be clearly better" if known else "too low to choose by"
        reason += f"; IoU of the weights' best boxes with the objects: {measured} ({rule})"
    return size_choice(side, dataset, reason)


def size_choice(side: int, dataset: CocoDataset, reason: str) -> Choice:
    """The input size for a longer side, enlarged if many objects would be too small for any detector."""
    pixels, pictures, labels = object_sizes(dataset)
    sizes = pixels / pictures
    least = least_side(sizes, labels)
    if least > side:
        side, reason = least, f"{reason}; enlarged because many objects are small"
    too_small = [each.share for each in _small_shares(sizes * side < SMALL_SIDE, labels) if each.too_many]
    if too_small:
        reason += f"; {max(too_small):.0%} of the objects of one class are still under {SMALL_SIDE:g} px"
    shapes = [dataset.truth(index)[0].original_size for index in range(len(dataset))]
    size = fit_shape(side, shapes)
    advice = None if dataset.window_count else advise_tiles(pixels, pictures, labels, size)
    if advice:
        reason += f"; half of the objects of {dataset.classes[advice.label]} {advice}"
    return Choice("data.input_size", list(size), reason)


def relative_sizes(dataset: CocoDataset) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of all objects (N,), see `box_sizes`, as fractions of their image's longer side; labels (N,)."""
    sizes, pictures, labels = object_sizes(dataset)
    return sizes / pictures, labels


def object_sizes(dataset: CocoDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes of all objects (N,), see `box_sizes`, their images' longer sides (N,), in pixels, and labels (N,)."""
    sizes, pictures, labels = [], [], []
    for index in range(len(dataset)):
        meta, truth = dataset.truth(index)
        sizes.append(box_sizes(truth.boxes[:, 2:] - truth.boxes[:, :2]))
        pictures.append(np.full(len(truth), max(meta.original_size), np.float32))
        labels.append(truth.labels)
    return np.concatenate(sizes), np.concatenate(pictures), np.concatenate(labels)


def mean_overlap(
    model: RTMDet, dataset: CocoDataset, images: Sequence[int], device: torch.device, side: int
) -> float:
    """The overlap of the objects with the best boxes of a detector at a square input, averaged over the classes."""
    values, labels = [], []
    for batch in plain_batches(dataset, (side, side), images, batch_size=1):
        with torch.no_grad():
            outputs = model(batch.images.to(device))
        values += best_overlaps(outputs, batch.targets, (side, side))
        labels += [target.labels for target in batch.targets]
    return mean_over_classes(torch.cat(values).cpu().numpy(), torch.cat(labels).numpy())


@torch.no_grad()
def best_overlaps(outputs: DenseOutputs, targets: Sequence[Target], input_size: tuple[int, int]) -> list[Tensor]:
    """(N,) for each of B images: the largest IoU of each object with the image's best boxes, whatever their class."""
    any_class = tuple(level.amax(1, keepdim=True) for level in outputs.logits)  # (B, 1, H, W)
    selection = Selection(LEAST_SCORE, nms_pre=1000, max_detections=PROPOSALS)
    found = postprocess(DenseOutputs(any_class, outputs.distances), selection, input_size=input_size)
    return [
        pairwise_iou(target.boxes.to(each.boxes), each.boxes).amax(1)
        if len(each)
        else each.boxes.new_zeros(len(target.boxes))
        for target, each in zip(targets, found, strict=True)
    ]


def mean_over_classes(values: np.ndarray, labels: np.ndarray) -> float:
    """The mean of (N,) values of each class, averaged over the classes present, as AP is."""
    return float(np.mean([values[labels == label].mean() for label in np.unique(labels)]))


def climb(start: int, overlap: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """Move along SIDES while the next one is clearly better; returns the side, and all measurements.

    `overlap` measures a side. Within the tolerance, and where all overlaps are under LEAST_OVERLAP, the side stays:
    it was chosen for the size of the objects.
    """
    measured: dict[int, float] = {}
    index = SIDES.index(start)
    while True:
        near = SIDES[max(index - 1, 0) : index + 2]
        for side in near:
            if side not in measured:
                measured[side] = overlap(side)
        best = max(near, key=lambda side: measured[side])
        if measured[best] < LEAST_OVERLAP or measured[SIDES[index]] >= (1 - TOLERANCE) * measured[best]:
            return SIDES[index], dict(sorted(measured.items()))
        index = SIDES.index(best)


def least_side(sizes: np.ndarray, labels: np.ndarray) -> int:
    """The smallest of SIDES at which few objects of any class are too small, with the allowance of `_small_shares`.

    `sizes` (N,): those of the objects, as fractions of their image's longer side. If no side is enough, the
    largest.
    """
    return _first_side(SIDES, sizes, labels, SMALL_SIDE)[0]


def side_for_boxes(sizes: np.ndarray, labels: np.ndarray) -> tuple[int, int, float]:
    """The smallest of SIDES up to LARGEST_START at which nine of ten objects of every class have GOOD_SIZE pixels.

    With the allowance of `_small_shares`. Also the class that is furthest from that there, and its share of such
    objects. `sizes` and `labels` as for `least_side`; there must be objects.
    """
    sides = [side for side in SIDES if side <= LARGEST_START]
    side, small = _first_side(sides, sizes, labels, GOOD_SIZE)
    worst = max(small, key=lambda each: (each.too_many, each.share))
    return side, worst.label, 1 - worst.share


class _Small(NamedTuple):
    label: int
    share: float  # of the class's objects
    too_many: bool


def _first_side(
    sides: Sequence[int], sizes: np.ndarray, labels: np.ndarray, pixels: float
) -> tuple[int, list[_Small]]:
    """The first of `sides` at which no class has too many objects under `pixels`, else the last; the shares."""
    for side in sides:
        small = _small_shares(sizes * side < pixels, labels)
        if not any(each.too_many for each in small):
            break
    return side, small


def _small_shares(small: np.ndarray, labels: np.ndarray) -> list[_Small]:
    """The share of `small` (N,) objects in each class present; too many: clearly more than MOST_SMALL.

    That is one more object than would be small by chance: MOST_SMALL of them and a standard deviation, at least one.
    """
    found = []
    for label in np.unique(labels):
        own = small[labels == label]
        usual = MOST_SMALL * len(own)
        allowed = max(1.0, usual + math.sqrt(usual * (1 - MOST_SMALL))) if len(own) > 1 else 0.0
        found.append(_Small(int(label), float(own.mean()), bool(own.sum() > allowed)))
    return found


def fit_shape(side: int, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(H, W) of the input with this longer side for images of these shapes (H, W).

    If all images have nearly the same shape, the shorter side is reduced to it, which saves padding.
    """
    ratios = np.array([height / width for height, width in shapes])
    low, high = ratios.min(), ratios.max()
    if high / low > SAME_SHAPE or (high >= SQUARE and low <= 1 / SQUARE):
        return side, side
    short = math.ceil(side * min(high, 1 / low) / 32 - 1e-6) * 32
    return (short, side) if high < 1 else (side, short)
