"""Which input size suits the data and the first weights.

The size of the objects gives a first choice. A detector boxes objects best at about the pixel sizes that it was
trained on: the best overlap of each object with the class-agnostic boxes of the first weights shows whether the next
size up or down is clearly better.
Dimension legend: B batch, K classes, N ground truths, D detections, H, W of a level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rtmdet.core.boxes import pairwise_iou
from rtmdet.core.postprocess import postprocess
from rtmdet.core.structures import DenseOutputs, Target

SIDES = (320, 416, 512, 640, 800, 960)  # pixels of the longer side, each about 1.25 times the one before
PROPOSALS = 100  # boxes of an image
LEAST_SCORE = 1e-4
TOLERANCE = 0.2  # share of the overlap that must be lost before another side is taken: less did not pay
SMALL_SIDE = 8.0  # pixels, a stride of the finest level: smaller objects are mostly lost
MOST_SMALL = 0.1  # share of the objects of a class that may be smaller
LARGEST_START = 640  # pixels: what detectors are mostly trained at; only the first weights show that more is better
GOOD_SIZE = 18.0  # pixels, square root of the area: two strides of the finest level and a little
SQUARE = 0.98  # of the aspect ratio: nearer to 1 is a square input
SAME_SHAPE = 1.1  # of the largest to the smallest aspect ratio


@torch.no_grad()
def best_overlaps(outputs: DenseOutputs, targets: Sequence[Target], input_size: tuple[int, int]) -> list[Tensor]:
    """(N,) for each of B images: the largest IoU of each object with the image's best boxes, whatever their class."""
    any_class = tuple(level.amax(1, keepdim=True) for level in outputs.logits)  # (B, 1, H, W)
    found = postprocess(
        DenseOutputs(any_class, outputs.distances),
        input_size=input_size,
        score_threshold=LEAST_SCORE,
        nms_pre=1000,
        max_detections=PROPOSALS,
    )
    return [
        pairwise_iou(target.boxes.to(each.boxes), each.boxes).amax(1)
        if len(each)
        else each.boxes.new_zeros(len(target.boxes))
        for target, each in zip(targets, found, strict=True)
    ]


def mean_over_classes(values: np.ndarray, labels: np.ndarray) -> float:
    """The mean of (N,) values of each class, averaged over the classes that occur: AP counts classes alike."""
    return float(np.mean([values[labels == label].mean() for label in np.unique(labels)]))


def climb(start: int, overlap: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """From one of SIDES to the next one up or down while that is clearly better; the side, and what was measured.

    `overlap` measures a side. Within the tolerance the side stays: it was chosen for the size of the objects.
    """
    measured: dict[int, float] = {}
    place = SIDES.index(start)
    while True:
        near = SIDES[max(place - 1, 0) : place + 2]
        for side in near:
            if side not in measured:
                measured[side] = overlap(side)
        best = max(near, key=lambda side: measured[side])
        if measured[SIDES[place]] >= (1 - TOLERANCE) * measured[best]:
            return SIDES[place], dict(sorted(measured.items()))
        place = SIDES.index(best)


def least_side(sizes: np.ndarray, labels: np.ndarray) -> tuple[int, float]:
    """The smallest of SIDES at which few objects of any class are too small, and the largest share of such objects.

    `sizes` (N,): square root of the area of each object, in shares of the image's longer side. The largest side where
    none is enough.
    """
    share = 0.0
    for side in SIDES:
        small = (sizes * side < SMALL_SIDE).astype(np.float64)
        share = max((small[labels == label].mean() for label in np.unique(labels)), default=0.0)
        if share <= MOST_SMALL:
            break
    return side, float(share)


def side_for_boxes(sizes: np.ndarray, labels: np.ndarray) -> tuple[int, int, float]:
    """The smallest of SIDES, at most LARGEST_START, where nine of ten objects of every class have GOOD_SIZE pixels.

    Also the class with the smallest objects, and the pixels that nine of ten of them have there at least.
    `sizes` and `labels` as for `least_side`.
    """
    tenths = {int(label): float(np.quantile(sizes[labels == label], 0.1)) for label in np.unique(labels)}
    smallest = min(tenths, key=lambda label: tenths[label])
    candidates = [side for side in SIDES if side <= LARGEST_START]
    side = next((side for side in candidates if side * tenths[smallest] >= GOOD_SIZE), candidates[-1])
    return side, smallest, side * tenths[smallest]


def fit_shape(side: int, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(H, W) of the input with this longer side for images of these shapes (H, W).

    Where all images have nearly the same shape the shorter side is cut to it, which saves the padding.
    """
    ratios = np.array([height / width for height, width in shapes])
    low, high = ratios.min(), ratios.max()
    if high / low > SAME_SHAPE or (high >= SQUARE and low <= 1 / SQUARE):
        return side, side
    short = math.ceil(side * min(high, 1 / low) / 32 - 1e-6) * 32
    return (short, side) if high < 1 else (side, short)
