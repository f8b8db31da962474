"""Operations that join several images: mosaic and mixup, each with its random numbers as arguments.

Exact to the reference's numbers. Dimension legend: N boxes, H, W of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rtmdet.core.letterbox import resize_image
from rtmdet.core.structures import Sample
from rtmdet.data.augment.composition import Composition, Layer
from rtmdet.data.augment.transforms import clip_boxes, flip, has_area


def make_tile(sample: Sample, size: tuple[int, int]) -> Sample:
    """The image scaled to fit (H, W) for a mosaic: sides are cut to whole pixels, boxes take the exact factor."""
    height, width = sample.image.shape[:2]
    factor = min(size[0] / height, size[1] / width)
    tile_size = max(int(height * factor), 1), max(int(width * factor), 1)
    boxes = sample.boxes * np.float32(factor)
    return replace(sample, image=resize_image(sample.image, tile_size), boxes=boxes)


def mosaic(tiles: Sequence[Sample], center: tuple[int, int], size: tuple[int, int]) -> Composition:
    """Four tiles around a centre (x, y) on a grey canvas of twice `size` (H, W).

    Order: top left, top right, bottom left, bottom right. Each tile touches the centre with its corner and
    is cut at the canvas; boxes are cut at the canvas, not at their tile, and dropped only if outside of it.
    """
    canvas = 2 * size[0], 2 * size[1]
    layers, boxes = [], []
    for number, tile in enumerate(tiles):
        height, width = tile.image.shape[:2]
        left = center[0] - width if number % 2 == 0 else center[0]
        top = center[1] - height if number < 2 else center[1]
        layers.append(Layer(tile.image, np.array([left, top, left + width, top + height], dtype=np.float64)))
        boxes.append(tile.boxes + np.array([left, top] * 2, dtype=np.float32))
    joined = clip_boxes(np.concatenate(boxes), canvas)
    inside = (joined[:, :2] < canvas[::-1]).all(1) & (joined[:, 2:] > 0).all(1)
    labels = np.concatenate([tile.labels for tile in tiles])
    return Composition(tuple(layers), canvas, joined[inside], labels[inside], tiles[0].meta)


def mixup(sample: Sample, partner: Sample, *, mirrored: bool) -> Sample:
    """The mean of two images of equal size, rounded down, with the boxes of both; the partner may be mirrored."""
    assert sample.image.shape == partner.image.shape, "mixup joins images of the network's input size"
    if mirrored:
        partner = flip(partner)
    a, b = sample.image, partner.image
    image = (a & b) + ((a ^ b) >> 1)  # (a + b) // 2 without leaving uint8
    boxes = np.concatenate([sample.boxes, clip_boxes(partner.boxes, image.shape[:2])])
    labels = np.concatenate([sample.labels, partner.labels])
    keep = has_area(boxes)
    return replace(sample, image=image, boxes=boxes[keep], labels=labels[keep])
