"""The training pipeline's operations on the pixels of one image, each with its random numbers as arguments.

All are exact to the reference's numbers; resize and crop, which need no pixels, are in composition.py. Boxes are
xyxy in the pixels of the sample's own image. Dimension legend: N boxes, H, W of the image.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from rtmdet.core.letterbox import pad_image
from rtmdet.core.structures import Sample


def shift_hsv(sample: Sample, shift: tuple[int, int, int]) -> Sample:
    """Add whole numbers to hue (of 180, wrapping), saturation and value (of 255, clipped) of every pixel."""
    hsv = cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV)
    hue, *others = (int(number) for number in shift)
    change = np.array([0, *others, 0], dtype=np.float64)  # cv2 wants four numbers
    # Its sums clip at 0 and 255 by themselves, ten times as fast as tables do. A hue that wraps needs one.
    hsv = cv2.add(hsv, np.maximum(change, 0), dst=hsv)
    hsv = cv2.subtract(hsv, np.maximum(-change, 0), dst=hsv)
    if hue:
        table = ((np.arange(256) + hue) % 180).astype(np.uint8)
        cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), table), hsv, 0)
    return replace(sample, image=cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv))


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""
    width = sample.image.shape[1]
    return replace(sample, image=cv2.flip(sample.image, 1), instances=sample.instances.flip(width))


def pad(sample: Sample, size: tuple[int, int]) -> Sample:
    """Gray to the right and below, up to (H, W)."""
    if sample.image.shape[:2] == size:
        return sample
    return replace(sample, image=pad_image(sample.image, size))
