"""Geometry of boxes: xyxy, absolute pixels. Paper: section 3.3; GIoU: arXiv 1902.09630; mmdet 3.3.0.

Dimension legend: N, M numbers of boxes, P priors.
"""

import torch
from torch import Tensor

EPSILON = 1e-6  # least union and enclosing area, in square pixels, as in the reference


def box_area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...): width x height, not checked for inverted boxes."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of `a` (N, 4) with every box of `b` (M, 4): (N, M), 0 .. 1."""
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(-1)  # (N, M)
    union = box_area(a)[:, None] + box_area(b)[None, :] - overlap
    return overlap / union.clamp(min=EPSILON)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of boxes pair by pair: (N, 4), (N, 4) -> (N,), -1 .. 1. Boxes of negative size are not repaired."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    union = (box_area(a) + box_area(b) - overlap).clamp(min=EPSILON)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    hull = hull.clamp(min=EPSILON)
    return overlap / union - (hull - union) / hull


def decode_distances(points: Tensor, distances: Tensor) -> Tensor:
    """Boxes from prior points (P, 2) as (x, y) and distances (..., P, 4) to left, top, right, bottom."""
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def encode_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Distances (..., P, 4) from points (P, 2) to the sides of boxes (..., P, 4): the inverse of decoding."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)
