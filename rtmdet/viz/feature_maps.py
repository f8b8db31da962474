"""Reduces the many channels of feature maps to a few that can be drawn.

The reductions of OpenMMLab's feature map demo. Dimension legend: C channels, H, W of the map.
"""

from __future__ import annotations

from torch import Tensor


def squeeze_mean(maps: Tensor) -> Tensor:
    """The mean over the channels: (C, H, W) -> (H, W)."""
    return maps.mean(0)


def select_max(maps: Tensor) -> Tensor:
    """The channel with the greatest sum over the area: (C, H, W) -> (H, W)."""
    return maps[int(maps.sum((1, 2)).argmax())]


def top_channels(maps: Tensor, k: int) -> list[tuple[int, Tensor]]:
    """The k channels with the greatest sums over the area, greatest first: their index and map (H, W).

    All channels of (C, H, W) if there are fewer than k.
    """
    best = maps.sum((1, 2)).topk(min(k, len(maps))).indices
    return [(channel, maps[channel]) for channel in best.tolist()]
