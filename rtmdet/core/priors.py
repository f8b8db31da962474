"""Prior points: the positions of the feature maps that predict boxes. Paper: section 3.3; mmdet 3.3.0.

A prior is at the top left corner of its cell (offset 0), not at its center. Order: level by level, within a
level row by row. Dimension legend: L levels, P priors of all levels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rtmdet.core.strides import STRIDES


def level_sizes(image_size: tuple[int, int], strides: Sequence[int] = STRIDES) -> list[tuple[int, int]]:
    """(H, W) of every feature map for an input of (H, W)."""
    return [(math.ceil(image_size[0] / stride), math.ceil(image_size[1] / stride)) for stride in strides]


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
    sizes: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
    *,
    strides: Sequence[int] = STRIDES,
    device: torch.device | None = None,
) -> Tensor:
    """(P,) bool: the priors whose cell overlaps the first (H, W) pixels of the input; the rest is padding."""
    flags = []
    for (height, width), (rows, columns) in zip(sizes, level_sizes(image_size, strides), strict=True):
        flag = torch.zeros(height, width, dtype=torch.bool, device=device)
        flag[:rows, :columns] = True
        flags.append(flag.reshape(-1))
    return torch.cat(flags)
