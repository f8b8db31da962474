"""Checks before the first step: ids and boxes survive encoding and evaluation, and the first loss is plausible.

Dimension legend: B batch, K classes, N ground truths, H, W of a feature map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pycocotools.coco import COCO
from torch import Tensor

from rtmdet.core.boxes import encode_distances
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.postprocess import postprocess
from rtmdet.core.priors import STRIDES, grid_priors, level_sizes
from rtmdet.core.structures import DenseOutputs, ImageMeta, Losses, Target
from rtmdet.evaluation.coco import CocoEvaluator
from rtmdet.training.criterion import Criterion

PRIOR_LOGIT = -math.log((1 - 0.01) / 0.01)  # of untrained class layers: a score of 0.01
SURE = 10.0  # logit of the priors that predict a ground truth
LOSS_FACTOR = 4.0  # allowed between the first loss and the one at PRIOR_LOGIT
LEAST_SPREAD = 1e-3  # of logits or distances in strides; random layers have 0.005 or more, dead ones under 1e-5
LEAST_QUALITY = 0.1  # mean IoU of matched priors; below it, the boxes fit no objects


def encode(target: Target, input_size: tuple[int, int], num_classes: int) -> DenseOutputs:
    """The outputs (B = 1) of a perfect model: the free prior nearest to its center predicts each ground truth.

    Only priors of the finest level are used; ground truths beyond their number are left out.
    """
    sizes = level_sizes(input_size)
    logits = [torch.full((1, num_classes, *size), -SURE) for size in sizes]
    distances = [torch.zeros(1, 4, *size) for size in sizes]
    points, _ = grid_priors(sizes[:1], strides=STRIDES[:1])
    centers = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2  # (N, 2)
    free = torch.ones(len(points), dtype=torch.bool)
    for center, box, label in zip(centers[: len(points)], target.boxes, target.labels.tolist(), strict=False):
        away = (points - center).square().sum(1).where(free, math.inf)
        prior = int(away.argmin())
        free[prior] = False
        row, column = divmod(prior, sizes[0][1])
        logits[0][0, label, row, column] = SURE
        distances[0][0, :, row, column] = encode_distances(points[prior], box)
    return DenseOutputs(tuple(logits), tuple(distances))


def ground_truth_ap(
    coco: COCO,
    category_ids: Sequence[int],
    images: Sequence[tuple[ImageMeta, Target]],
    input_size: tuple[int, int],
) -> float:
    """The AP of the ground truth itself, encoded, decoded and evaluated: 1 if ids and boxes are correct.

    `images`: those of the index, or this process's share of them; boxes in original pixels. -1 without any box.
    """
    evaluator = CocoEvaluator(coco, category_ids)
    for meta, target in images:
        place = Letterbox.fit(meta.original_size, input_size)
        outputs = encode(Target(place.to_input(target.boxes), target.labels), input_size, len(category_ids))
        most = max(len(target.labels), 1)
        found = postprocess(
            outputs,
            input_size=input_size,
            letterboxes=[place],
            score_threshold=0.5,
            iou_threshold=1.0,
            max_detections=most,
        )
        evaluator.add([meta], found)
    return evaluator.evaluate().ap


def without_prior(boxes: Tensor, input_size: tuple[int, int]) -> int:
    """How many boxes (N, 4), in input pixels, have no prior strictly inside and cannot be matched."""
    inside = torch.zeros(len(boxes), dtype=torch.bool)
    for stride, (height, width) in zip(STRIDES, level_sizes(input_size), strict=True):
        first = (boxes[:, :2] / stride).floor() + 1  # the first point right of and below the corner
        first = first.clamp(min=0)
        last = (boxes[:, 2:] / stride).ceil() - 1
        last = torch.minimum(last, last.new_tensor([width - 1, height - 1]))
        inside |= (first <= last).all(1)
    return int((~inside).sum())


def output_spread(outputs: DenseOutputs) -> tuple[float, float]:
    """Spatial standard deviation of logits and of distances (in strides), the largest of any channel.

    Both are near 0 if the outputs do not depend on the image, as with frozen batch norms before layers that start
    from scratch. Such a network has no useful gradient, although its loss looks normal.
    """
    spreads = []
    for levels in (outputs.logits, tuple(d / s for d, s in zip(outputs.distances, STRIDES, strict=True))):
        channels = [level.float().std((0, 2, 3), correction=0) for level in levels]  # (K,) or (4,)
        spreads.append(max(float(channel.max()) for channel in channels))
    return spreads[0], spreads[1]


def finds_nothing(losses: Losses, expected: float) -> bool:
    """Whether trained class layers predict no object although there are some.

    A classification loss far below `expected`, that of untrained class layers, is right for a detector of these
    objects, whose boxes then overlap them. If they do not, all scores are 0 or the weights do not fit.
    """
    quality = float(losses.quality) / max(losses.positives, 1)
    low = float(losses.classification) < expected / LOSS_FACTOR
    return losses.ground_truths > 0 and low and quality < LEAST_QUALITY


def expected_loss(criterion: Criterion, outputs: DenseOutputs, targets: Sequence[Target]) -> float:
    """The classification loss of these outputs if all logits were those of untrained class layers."""
    flat = tuple(torch.full_like(level, PRIOR_LOGIT, dtype=torch.float32) for level in outputs.logits)
    return float(criterion(DenseOutputs(flat, outputs.distances), targets).classification)
