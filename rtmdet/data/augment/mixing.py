"""Mosaic and mixup; random numbers are arguments.

Exactly equal to the reference. Dimension legend: N boxes, H, W of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rtmdet.core.instances import Instances
from rtmdet.core.letterbox import resize_image
from rtmdet.core.structures import Sample
from rtmdet.data.augment.composition import Composition, Layer
from rtmdet.data.augment.transforms import flip


def make_tile(sample: Sample, size: tuple[int, int]) -> Sample:
    """The image scaled to fit (H, W) for a mosaic: sides are rounded down to pixels, boxes use the exact factor."""
    height, width = sample.image.shape[:2]
    factor = min(size[0] / height, size[1] / width)
    tile_size = max(int(height * factor), 1), max(int(width * factor), 1)
    instances = sample.instances.affine((factor, factor))
    return replace(sample, image=resize_image(sample.image, tile_size), instances=instances)


def mosaic(tiles: Sequence[Sample], center: tuple[int, int], size: tuple[int, int]) -> Composition:
    """Four tiles around a center (x, y) on a gray canvas of twice `size` (H, W).

    Order: top left, top right, bottom left, bottom right. Each tile has a corner at the center. Tiles and boxes are
    clipped to the canvas (boxes not to their tile); only boxes outside the canvas are dropped.
    """
    canvas = 2 * size[0], 2 * size[1]
    layers, parts = [], []
    for number, tile in enumerate(tiles):
        height, width = tile.image.shape[:2]
        left = center[0] - width if number % 2 == 0 else center[0]
        top = center[1] - height if number < 2 else center[1]
        layers.append(Layer(tile.image, np.array([left, top, left + width, top + height], dtype=np.float64)))
        parts.append(tile.instances.affine((1.0, 1.0), (left, top)))
    joined = Instances.join(parts).clip(canvas)
    x1, y1, x2, y2 = joined.boxes.T
    inside = (x1 < canvas[1]) & (y1 < canvas[0]) & (x2 > 0) & (y2 > 0)
    return Composition(tuple(layers), canvas, joined.select(inside), tiles[0].meta)


def mixup(sample: Sample, partner: Sample, *, mirrored: bool) -> Sample:
    """The mean of two images of equal size, rounded down, with the boxes of both; the partner may be mirrored."""
    assert sample.image.shape == partner.image.shape, "mixup joins images of the network's input size"
    if mirrored:
        partner = flip(partner)
    a, b = sample.image, partner.image
    image = (a & b) + ((a ^ b) >> 1)  # (a + b) // 2 without leaving uint8
    instances = Instances.join([sample.instances, partner.instances.clip((image.shape[0], image.shape[1]))])
    return replace(sample, image=image, instances=instances.with_area())
