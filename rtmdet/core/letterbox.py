"""Letterbox: fits an image of any size into the network's input, keeping its aspect ratio; padding right and below.

Shared by training, prediction, visualizers and export. Reference: test pipeline of mmdet 3.3.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rtmdet.core.arrays import AnyArray, constants_like

PAD_VALUE = 114  # gray of the padding, all channels


def fitted_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The (H, W) of an image of `size` (H, W) fitted into `target` (H, W), enlarged if needed; at least 1 pixel.

    Differs from mmdet for targets that are not square: height is fitted to height and width to width; mmdet compares
    the long edges, so that a portrait image overflows a landscape target.
    """
    factor = min(target[0] / size[0], target[1] / size[1])
    return max(int(size[0] * factor + 0.5), 1), max(int(size[1] * factor + 0.5), 1)


def resize_image(image: np.ndarray, size: tuple[int, int], out: np.ndarray | None = None) -> np.ndarray:
    """Bilinear resize of a (H, W, 3) uint8 image to `size` (H, W); into `out`, if it is of the image's type."""
    return cv2.resize(image, (size[1], size[0]), dst=out, interpolation=cv2.INTER_LINEAR)


def pad_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at the top left of a gray canvas of `size` (H, W), which must not be smaller than the image."""
    canvas = np.full((*size, 3), PAD_VALUE, dtype=np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in the network's input: at the top left, padding to its right and below it."""

    content: tuple[int, int]  # (H, W) of the input that shows the image
    scale: tuple[float, float]  # (x, y): input pixels per original pixel; the axes differ by rounding

    @classmethod
    def fit(cls, size: tuple[int, int], input_size: tuple[int, int]) -> "Letterbox":
        """That of an image of `size` (H, W) in an input of (H, W)."""
        content = fitted_size(size, input_size)
        return cls(content, (content[1] / size[1], content[0] / size[0]))

    def to_input(self, boxes: AnyArray) -> AnyArray:
        """Boxes (N, 4) xyxy of the image in input pixels."""
        return boxes * constants_like(boxes, self.scale * 2)

    def to_image(self, boxes: AnyArray) -> AnyArray:
        """Boxes (N, 4) xyxy of the input in the image's own pixels."""
        return boxes / constants_like(boxes, self.scale * 2)


def letterbox(
    image: np.ndarray, size: tuple[int, int], canvas: np.ndarray | None = None
) -> tuple[np.ndarray, Letterbox]:
    """Fit a (H, W, 3) uint8 image into `size` (H, W): the (size[0], size[1], 3) canvas, and where the image lies.

    `canvas`, such as a slice of a batch, is written to; by default it is a new array.
    """
    if canvas is None:
        canvas = np.empty((*size, 3), np.uint8)
    geometry = Letterbox.fit((image.shape[0], image.shape[1]), size)
    height, width = geometry.content
    inside = canvas[:height, :width]
    resized = resize_image(image, geometry.content, inside)
    if resized is not inside:  # of another type or other channels
        inside[:] = resized
    canvas[height:] = PAD_VALUE
    canvas[:height, width:] = PAD_VALUE
    return canvas, geometry


def letterbox_batch(images: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, list[Letterbox]]:
    """B images, as `letterbox` fits them, as one input (B, 3, H, W) in channels-last memory, and where each lies."""
    batch = np.empty((len(images), *size, 3), np.uint8)
    letterboxes = [letterbox(image, size, canvas)[1] for image, canvas in zip(images, batch, strict=True)]
    return batch.transpose(0, 3, 1, 2), letterboxes
