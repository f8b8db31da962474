"""Letterbox: an image of any size to the network's input, its shape kept. Frame: top left, padding right and below.

The one function that training, prediction, visualizers and export share. Reference: test pipeline of mmdet.
"""

from __future__ import annotations

import cv2
import numpy as np

PAD_VALUE = 114  # the grey of the padding, all channels


def fitted_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The (H, W) that an image of `size` (H, W) takes inside `target` (H, W): enlarged too, at least 1 pixel.

    Differs from mmdet: for a target that is not square the image fits it side by side; mmdet compares long
    edge with long edge, so that a portrait image overflows a landscape target. Square targets are equal.
    """
    factor = min(target[0] / size[0], target[1] / size[1])
    return max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of a (H, W, 3) uint8 image to `size` (H, W)."""
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def pad_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at the top left of a grey canvas of `size` (H, W), which must not be smaller than the image."""
    canvas = np.full((*size, 3), PAD_VALUE, dtype=np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def letterbox(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[float, float]]:
    """Fit a (H, W, 3) uint8 image into `size` (H, W).

    Returns the (size[0], size[1], 3) canvas and the scale (x, y): input pixels per original pixel, which
    differs between the axes by rounding.
    """
    height, width = image.shape[:2]
    content = fitted_size((height, width), size)
    canvas = pad_image(resize_image(image, content), size)
    return canvas, (content[1] / width, content[0] / height)
