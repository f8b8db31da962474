"""Augmentations of pixels: colors, mirroring, padding, mixup; random numbers are arguments.

Exactly equal to the reference; mosaic, resize and crop are in composition.py. Boxes are xyxy in pixels of the image.
Dimension legend: N boxes, H, W of the image.
"""

from dataclasses import replace

import cv2
import numpy as np

from rtmdet.core.instances import Instances
from rtmdet.core.letterbox import pad_image
from rtmdet.core.structures import Sample


def shift_hsv(sample: Sample, shift: tuple[int, int, int]) -> Sample:
    """Add integers to hue (modulo 180), saturation and value (clipped to 0 .. 255) of every pixel."""
    hsv = cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV)
    hue, *others = (int(number) for number in shift)
    change = np.array([0, *others, 0], dtype=np.float64)  # cv2 needs four numbers
    # cv2's sums saturate at 0 and 255, ten times as fast as lookup tables. Only the hue, which wraps, needs a table.
    hsv = cv2.add(hsv, np.maximum(change, 0), dst=hsv)
    hsv = cv2.subtract(hsv, np.maximum(-change, 0), dst=hsv)
    if hue:
        table = ((np.arange(256) + hue) % 180).astype(np.uint8)
        cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), table), hsv, 0)
    return replace(sample, image=cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv))


def flip(sample: Sample) -> Sample:
    """Mirror horizontally."""
    width = sample.image.shape[1]
    return replace(sample, image=cv2.flip(sample.image, 1), instances=sample.instances.flip(width))


def pad(sample: Sample, size: tuple[int, int]) -> Sample:
    """Pad with gray on the right and at the bottom, up to (H, W)."""
    if sample.image.shape[:2] == size:
        return sample
    return replace(sample, image=pad_image(sample.image, size))


def mixup(sample: Sample, partner: Sample, *, mirrored: bool) -> Sample:
    """The mean of two images of equal size, rounded down, with the boxes of both; the partner may be mirrored."""
    assert sample.image.shape == partner.image.shape, "mixup joins images of the network's input size"
    if mirrored:
        partner = flip(partner)
    a, b = sample.image, partner.image
    image = (a & b) + ((a ^ b) >> 1)  # (a + b) // 2 without leaving uint8
    instances = Instances.join([sample.instances, partner.instances.clip((image.shape[0], image.shape[1]))])
    return replace(sample, image=image, instances=instances.with_area())
