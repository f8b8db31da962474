"""Dynamic soft label assignment: which priors learn which ground truth. Paper: section 3.3, equations 2-5.

Dimension legend: P priors, K classes, N ground truths, C candidates (priors strictly inside any ground truth).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rtmdet.boxes import pairwise_iou
from rtmdet.structures import Assignment, Target

TOPK = 13  # at most this many priors for one ground truth
IOU_WEIGHT = 3.0
SOFT_CENTER_RADIUS = 3.0  # in strides: the distance at which the centre's cost is 1
EPSILON = 1e-7


@torch.no_grad()
def assign(
    logits: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, target: Target, *, topk: int = TOPK
) -> Assignment:
    """Match the priors of one image with its ground truths.

    logits (P, K) before the sigmoid, boxes (P, 4) decoded, points (P, 2) and strides (P,) of the priors, all
    in the pixels of the network's input, float32 or wider. Without ground truth, or without a prior strictly
    inside one, everything is background.
    """
    gt_index = torch.full((len(points),), -1, dtype=torch.int64, device=points.device)
    soft_target = torch.zeros(len(points), dtype=boxes.dtype, device=points.device)
    candidates = _inside_any(points, target.boxes).nonzero().squeeze(1)  # (C,)
    if len(candidates):
        iou = pairwise_iou(boxes[candidates], target.boxes)  # (C, N)
        cost = classification_cost(logits[candidates], iou, target.labels)
        cost = cost - IOU_WEIGHT * torch.log(iou + EPSILON)
        cost = cost + _center_cost(points[candidates], strides[candidates], target.boxes)
        matched = _match(cost, iou, topk)  # (C,)
        positive = matched >= 0
        gt_index[candidates] = matched
        soft_target[candidates[positive]] = iou[positive, matched[positive]]
    return Assignment(gt_index, soft_target)


def classification_cost(logits: Tensor, iou: Tensor, labels: Tensor) -> Tensor:
    """Soft label cost (C, N) of logits (C, K) against ground truths of `labels` (N,) with targets `iou` (C, N).

    The sum over classes of cross entropy x (target - score)^2 has target 0 in all columns but the ground
    truth's own, so it is a row's sum with one column exchanged: no (C, N, K) tensor is made.
    """
    scores = logits.sigmoid()
    background = F.softplus(logits) * scores.square()  # (C, K) the term of a target 0
    own_logits = logits[:, labels]  # (C, N)
    own = F.binary_cross_entropy_with_logits(own_logits, iou, reduction="none")
    own = own * (iou - scores[:, labels]).square()
    return background.sum(dim=1, keepdim=True) - background[:, labels] + own


def _inside_any(points: Tensor, boxes: Tensor) -> Tensor:
    """(P,) bool: the points (P, 2) strictly inside at least one of the boxes (N, 4)."""
    after = points[:, None] > boxes[None, :, :2]  # (P, N, 2)
    before = points[:, None] < boxes[None, :, 2:]
    return (after & before).all(-1).any(1)


def _center_cost(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """10^(distance - 3) with the distance (C, N) from each point to each box's centre in strides."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2)
    distance = (points[:, None] - centers[None]).square().sum(-1).sqrt() / strides[:, None]
    return torch.pow(10, distance - SOFT_CENTER_RADIUS)


def _match(cost: Tensor, iou: Tensor, topk: int) -> Tensor:
    """Index of the ground truth of each candidate (C,), -1 = none, from cost and IoU (C, N).

    A ground truth takes as many candidates of least cost as its best IoUs sum up to. A candidate taken by
    several goes to its cheapest one, be that one of the takers or not.
    """
    most = min(topk, len(cost))
    numbers = iou.topk(most, dim=0).values.sum(0).int().clamp(min=1)  # (N,)
    cheapest = cost.topk(most, dim=0, largest=False).indices  # (most, N)
    chosen = torch.arange(most, device=cost.device)[:, None] < numbers[None]  # (most, N)
    taken = torch.zeros_like(cost, dtype=torch.bool).scatter_(0, cheapest, chosen)  # (C, N)
    takers = taken.sum(1)
    matched = torch.where(takers > 1, cost.argmin(1), taken.int().argmax(1))
    return torch.where(takers > 0, matched, -1)
