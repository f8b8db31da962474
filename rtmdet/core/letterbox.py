"""Letterbox: fits an image of any size into the network's input, keeping its aspect ratio; padding right and below.

Shared by training, prediction, visualizers and export. Reference: test pipeline of mmdet 3.3.0.
"""

from __future__ import annotations

import cv2
import numpy as np

PAD_VALUE = 114  # gray of the padding, all channels


def fitted_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The (H, W) of an image of `size` (H, W) fitted into `target` (H, W), enlarged if needed; at least 1 pixel.

    Differs from mmdet for targets that are not square: height is fitted to height and width to width; mmdet compares
    the long edges, so that a portrait image overflows a landscape target.
    """
    factor = min(target[0] / size[0], target[1] / size[1])
    return max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of a (H, W, 3) uint8 image to `size` (H, W)."""
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def pad_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at the top left of a gray canvas of `size` (H, W), which must not be smaller than the image."""
    canvas = np.full((*size, 3), PAD_VALUE, dtype=np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def letterbox(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[float, float]]:
    """Fit a (H, W, 3) uint8 image into `size` (H, W).

    Returns the (size[0], size[1], 3) canvas and the scale (x, y): input pixels per original pixel;
    rounding makes the axes differ.
    """
    height, width = image.shape[:2]
    content = fitted_size((height, width), size)
    canvas = pad_image(resize_image(image, content), size)
    return canvas, (content[1] / width, content[0] / height)
