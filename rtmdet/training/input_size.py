"""Which input size suits the data and the first weights.

A detector boxes objects best at about the pixel sizes that it was trained on. The best overlap of each object with
the class-agnostic boxes of the first weights shows, over several input sizes, where these weights work best on it.
Dimension legend: B batch, K classes, N ground truths, D detections, H, W of a level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rtmdet.boxes import pairwise_iou
from rtmdet.postprocess import postprocess
from rtmdet.structures import DenseOutputs, Target

SIDES = (320, 416, 512, 640, 800, 960)  # pixels of the longer side, each about 1.25 times the one before
PROPOSALS = 100  # boxes of an image
LEAST_SCORE = 1e-4
TOLERANCE = 0.05  # share of the best overlap that a smaller, cheaper size may give up
FALLS = 2  # sizes in a row below the best after which larger ones are not tried
SMALL_SIDE = 8.0  # pixels, a stride of the finest level: smaller objects are mostly lost
MOST_SMALL = 0.1  # share of the objects of a class that may be smaller
BOX_SIDES = (320, 416, 512, 640)  # where nothing can be measured: not below or above what backbones are trained at
GOOD_SIDE = 32.0  # pixels of the median object
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


def choose_side(overlaps: Mapping[int, float]) -> int:
    """The smallest side whose overlap is nearly the best one."""
    best = max(overlaps.values())
    return min(side for side, overlap in overlaps.items() if overlap >= (1 - TOLERANCE) * best)


def past_the_best(overlaps: Mapping[int, float]) -> bool:
    """Whether larger sides need not be tried: the last ones, in rising order, fell behind the best."""
    values = list(overlaps.values())
    return len(values) - 1 - int(np.argmax(values)) >= FALLS


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


def side_for_boxes(sizes: np.ndarray, labels: np.ndarray) -> tuple[int, float]:
    """The smallest of BOX_SIDES at which the median object of every class has GOOD_SIDE pixels, and its pixels there.

    The largest of them where none is enough. `sizes` and `labels` as for `least_side`.
    """
    median = min(float(np.median(sizes[labels == label])) for label in np.unique(labels))
    side = next((side for side in BOX_SIDES if side * median >= GOOD_SIDE), BOX_SIDES[-1])
    return side, side * median


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
