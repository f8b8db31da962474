"""The operations of the training pipeline on one image, each with its random numbers as arguments.

All are exact to the reference's numbers. Boxes are xyxy in the pixels of the sample's own image.
Dimension legend: N boxes, H, W of the image.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from rtmdet.letterbox import fitted_size, pad_image, resize_image
from rtmdet.structures import Sample


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) with their corners moved into an image of (H, W)."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float32))


def has_area(boxes: np.ndarray) -> np.ndarray:
    """(N,) bool: boxes wider and higher than nothing."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def resize(sample: Sample, largest: tuple[int, int]) -> Sample:
    """Scale the image to fit (H, W), its shape kept; boxes follow per axis and are clipped."""
    height, width = sample.image.shape[:2]
    size = fitted_size((height, width), largest)
    factor = np.array([size[1] / width, size[0] / height] * 2, dtype=np.float32)
    boxes = clip_boxes(sample.boxes * factor, size)
    return replace(sample, image=resize_image(sample.image, size), boxes=boxes)


def crop(sample: Sample, top: int, left: int, size: tuple[int, int]) -> Sample:
    """Cut the window of at most (H, W) at (top, left); boxes are cut too, those outside are dropped."""
    image = sample.image[top : top + size[0], left : left + size[1]]
    boxes = clip_boxes(sample.boxes - np.array([left, top] * 2, dtype=np.float32), image.shape[:2])
    keep = has_area(boxes)
    return replace(sample, image=image, boxes=boxes[keep], labels=sample.labels[keep])


def shift_hsv(sample: Sample, shift: tuple[int, int, int]) -> Sample:
    """Add whole numbers to hue (of 180, wrapping), saturation and value (of 255, clipped) of every pixel."""
    hsv = cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV)
    values = np.arange(256)
    tables = [(values + shift[0]) % 180, np.clip(values + shift[1], 0, 255), np.clip(values + shift[2], 0, 255)]
    hsv = cv2.LUT(hsv, np.stack(tables, axis=-1).astype(np.uint8)[None])
    return replace(sample, image=cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""
    width = sample.image.shape[1]
    x1, y1, x2, y2 = sample.boxes.T
    boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
    return replace(sample, image=cv2.flip(sample.image, 1), boxes=boxes)


def pad(sample: Sample, size: tuple[int, int]) -> Sample:
    """Grey to the right and below, up to (H, W)."""
    return replace(sample, image=pad_image(sample.image, size))
