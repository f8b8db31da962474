"""Dynamic soft label assignment: which priors learn which ground truth. Paper: section 3.3, equations 2-5.

Follows DynamicSoftLabelAssigner of mmdet 3.3.0.

Dimension legend: P priors, K classes, N ground truths, C candidates (priors strictly inside any ground truth).
Matrices are (N, C), one row per ground truth, so that its candidates are adjacent in memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rtmdet.core.boxes import pairwise_iou
from rtmdet.core.structures import Assignment, Target

TOPK = 13  # at most this many priors for one ground truth
IOU_WEIGHT = 3.0
SOFT_CENTER_RADIUS = 3.0  # in strides: the distance at which the center cost is 1
EPSILON = 1e-7
GROUP = 256  # ground truths at a time: a matrix of 1000 x 8400 has 34 MB, and computing it takes several


@torch.no_grad()
def assign(
    logits: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, target: Target, *, topk: int = TOPK
) -> Assignment:
    """Match the priors of one image to its ground truths.

    logits (P, K) before the sigmoid, boxes (P, 4) decoded, points (P, 2) and strides (P,) of the priors, all
    in the pixels of the network's input, float32 or wider. Without ground truth, or if no prior lies
    strictly inside one, everything is background.
    """
    gt_index = torch.full((len(points),), -1, dtype=torch.int64, device=points.device)
    soft_target = torch.zeros(len(points), dtype=boxes.dtype, device=points.device)
    candidates = _inside_any(points, target.boxes).nonzero().squeeze(1)  # (C,)
    if len(candidates):
        cost, iou = _costs(logits[candidates], boxes[candidates], points[candidates], strides[candidates], target)
        matched = _match(cost, iou, topk)  # (C,)
        gt_index[candidates] = matched
        own_iou = iou.gather(0, matched.clamp(min=0)[None]).squeeze(0)  # (C,)
        soft_target[candidates] = torch.where(matched >= 0, own_iou, 0)
    return Assignment(gt_index, soft_target)


def _costs(logits: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Cost and IoU (N, C) of the candidates with the ground truths."""
    iou = boxes.new_empty(len(target.labels), len(boxes))
    cost = torch.empty_like(iou)
    for start in range(0, len(target.labels), GROUP):
        rows = slice(start, start + GROUP)
        gt_boxes = target.boxes[rows]
        iou[rows] = pairwise_iou(gt_boxes, boxes)
        cost[rows] = classification_cost(logits, iou[rows], target.labels[rows])
        cost[rows] -= IOU_WEIGHT * torch.log(iou[rows] + EPSILON)
        cost[rows] += _center_cost(points, strides, gt_boxes)
    return cost, iou


def classification_cost(logits: Tensor, iou: Tensor, labels: Tensor) -> Tensor:
    """Soft label cost (N, C) of logits (C, K) against ground truths of `labels` (N,) with targets `iou` (N, C).

    The sum over classes of cross entropy x (target - score)^2 has target 0 in all columns except the ground
    truth's own. So it is the prior's background sum with one term exchanged: no (N, C, K) tensor is made, and
    logarithms are taken once per class instead of once per ground truth.
    """
    logits = logits.t().contiguous()  # (K, C)
    scores, log_scores = logits.sigmoid(), F.logsigmoid(logits)
    background = F.softplus(logits) * scores.square()  # (K, C) the term of a target 0
    own = (1 - iou).mul_(logits[labels]).sub_(log_scores[labels])  # (N, C) the cross entropy of target `iou`
    own *= (iou - scores[labels]).square_()
    own += background.sum(0) - background[labels]
    return own


def _inside_any(points: Tensor, boxes: Tensor) -> Tensor:
    """(P,) bool: the points (P, 2) strictly inside at least one of the boxes (N, 4)."""
    x, y = points.t().contiguous()  # (P,)
    left, top, right, bottom = boxes[:, :, None].unbind(1)  # (N, 1)
    return ((x > left) & (x < right) & (y > top) & (y < bottom)).any(0)


def _center_cost(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """10^(distance - 3) with the distance (N, C) from each box's center to each point in strides."""
    x, y = points.t().contiguous()  # (C,)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2)
    distance = (x - centers[:, :1]).square_().add_((y - centers[:, 1:]).square_()).sqrt_().div_(strides)
    return torch.pow(10, distance.sub_(SOFT_CENTER_RADIUS))


def _match(cost: Tensor, iou: Tensor, topk: int) -> Tensor:
    """Index of the ground truth of each candidate (C,), -1 = none, from cost and IoU (N, C).

    A ground truth takes its dynamic k candidates of least cost: what its best IoUs sum up to. A candidate taken by
    several goes to the ground truth of least cost, which need not be one of the takers.
    """
    number, candidates = cost.shape
    most = min(topk, candidates)
    dynamic_k = iou.topk(most, dim=1).values.sum(1).int().clamp(min=1)  # (N,)
    cheapest = cost.topk(most, dim=1, largest=False).indices.flatten()  # (N * most,)
    chosen = torch.arange(most, device=cost.device) < dynamic_k[:, None]  # (N, most)
    taker = torch.arange(number, device=cost.device)[:, None].where(chosen, -1)
    takers = cheapest.new_zeros(candidates).scatter_add_(0, cheapest, chosen.flatten().long())
    last_taker = cheapest.new_full((candidates,), -1).scatter_reduce_(0, cheapest, taker.flatten(), "amax")
    return torch.where(takers > 1, cost.argmin(0), last_taker)
