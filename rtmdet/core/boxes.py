"""Boxes, and the prior points that they are predicted from. Paper: section 3.3; GIoU: arXiv 1902.09630; mmdet 3.3.0.

Boxes are xyxy in absolute pixels. A prior is a position of the feature maps: the top left corner of its cell (offset
0), not its center. Order: level by level, within a level row by row.
Dimension legend: N, M numbers of boxes, L levels, P priors of all levels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rtmdet.core.strides import STRIDES

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


def level_sizes(image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """(H, W) of every feature map for an input of (H, W)."""
    return [(math.ceil(image_size[0] / stride), math.ceil(image_size[1] / stride)) for stride in STRIDES]


def grid_priors(
    sizes: Sequence[tuple[int, int]],
    *,
    strides: Sequence[int] = STRIDES,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Points (P, 2) as (x, y) in input pixels and the stride (P,) of each, for feature maps of (H, W) sizes."""
    points, point_strides = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y = torch.arange(height, device=device, dtype=dtype) * stride
        x = torch.arange(width, device=device, dtype=dtype) * stride
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")  # (H, W)
        points.append(torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2))
        point_strides.append(torch.full((height * width,), stride, device=device, dtype=dtype))
    return torch.cat(points), torch.cat(point_strides)


def valid_priors(
    sizes: Sequence[tuple[int, int]], image_size: tuple[int, int], *, device: torch.device | None = None
) -> Tensor:
    """(P,) bool: the priors whose cell overlaps the first (H, W) pixels of the input; the rest is padding."""
    flags = []
    for (height, width), (rows, columns) in zip(sizes, level_sizes(image_size), strict=True):
        flag = torch.zeros(height, width, dtype=torch.bool, device=device)
        flag[:rows, :columns] = True
        flags.append(flag.reshape(-1))
    return torch.cat(flags)
