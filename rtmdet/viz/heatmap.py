"""Heat maps: maps of the network drawn on their picture.

A map spans the network's input, including the letterbox padding; a picture has no padding. Sizes are
(H, W), pictures RGB uint8. Reference: the visualizers of mmyolo.
"""

import cv2
import numpy as np

from rtmdet.core.arrays import AnyArray
from rtmdet.core.letterbox import fitted_size

EPSILON = 1e-7  # avoids a division by zero for constant maps


def content_part(maps: AnyArray, content: tuple[int, int], input_size: tuple[int, int]) -> AnyArray:
    """The cells of maps (..., h, w) over the network's input that lie in `content`, the input without its padding."""
    height, width = (
        -(-side * cells // whole) for side, cells, whole in zip(content, maps.shape[-2:], input_size, strict=True)
    )
    return maps[..., :height, :width]


def crop_padding(heat: np.ndarray, content: tuple[int, int], input_size: tuple[int, int]) -> np.ndarray:
    """The part of a map (h, w) over the network's input that shows the image: float32 of size `content`.

    The map is first resized to the input, so that cropping is exact to a pixel, not a cell. Differs from mmdet: cell
    i is drawn at i x stride, where its prior is and what it sees is centered, not half a cell to the right and below.
    """
    stride = input_size[0] // heat.shape[0], input_size[1] // heat.shape[1]
    size = input_size[0] + stride[0], input_size[1] + stride[1]
    stretched = resize_map(np.pad(heat, ((0, 1), (0, 1)), mode="edge"), size)
    return stretched[stride[0] // 2 :, stride[1] // 2 :][: content[0], : content[1]]


def on_picture(heat: np.ndarray, picture_size: tuple[int, int], input_size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) over the network's input as a map over the original picture of `picture_size`, float32.

    Differs from mmyolo: the padding is cropped; mmyolo stretches it over the picture, which shifts the heat.
    """
    content = fitted_size(picture_size, input_size)
    return resize_map(crop_padding(heat, content, input_size), picture_size)


def resize_map(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize (pixel centers aligned, not corners) of a map (h, w) to `size`, float32."""
    return cv2.resize(heat.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def unit_range(heat: np.ndarray) -> np.ndarray:
    """The map shifted and scaled to 0 .. 1; a constant map becomes 0."""
    shifted = heat - heat.min()
    return shifted / (EPSILON + shifted.max())


def heat_map(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Colors for a map (h, w), resized to `size`: (H, W, 3), from black at its minimum to pale yellow at its maximum.

    They get lighter all the way, so that they are read in gray and with color blindness, too.
    """
    level = (unit_range(resize_map(heat, size)) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def overlay(image: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """A mix of two (H, W, 3) pictures, half of each."""
    return cv2.addWeighted(image, 0.5, colors, 0.5, 0)


def brighten(image: np.ndarray) -> np.ndarray:
    """The picture scaled so that its greatest value is 255, for mixes that came out dim."""
    return (image * (255 / max(int(image.max()), 1))).astype(np.uint8)
