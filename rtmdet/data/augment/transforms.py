"""The augmentations, in the order in which samples use them; random numbers are arguments. Paper: section 3.4.

Most of a mosaic never reaches the network: it is enlarged, then cropped. So mosaic, resize and crop are lazy: boxes
and positions are computed first, exactly as the reference's operations would, and `render` makes pixels only for what
is left. HSV shift, mirroring, padding and mixup of pixels are exactly equal to the reference.

Frame: xyxy pixels of the canvas; (0, 0) is the outer corner of its first pixel.
Dimension legend: N boxes, H, W canvas, h, w an image on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from rtmdet.core.letterbox import PAD_VALUE, fitted_size, pad_image, resize_image
from rtmdet.core.structures import ImageMeta, Instances, Sample


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """An image and its position, which may extend beyond the canvas."""

    image: np.ndarray  # (h, w, 3) uint8 RGB
    rectangle: np.ndarray  # (4,) float64 xyxy

    @property
    def is_whole(self) -> bool:
        """Whether its edges are at whole pixels of the canvas."""
        return bool((self.rectangle == np.rint(self.rectangle)).all())


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """Layers that do not overlap on a gray canvas, with the ground truth of all."""

    layers: tuple[Layer, ...]
    size: tuple[int, int]  # (H, W) of the canvas
    instances: Instances
    meta: ImageMeta


def compose(sample: Sample) -> Composition:
    """A single image that fills the canvas."""
    height, width = sample.image.shape[:2]
    layer = Layer(sample.image, np.array([0.0, 0.0, width, height]))
    return Composition((layer,), (height, width), sample.instances, sample.meta)


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


def resize(composition: Composition, largest: tuple[int, int]) -> Composition:
    """Scale to fit (H, W), keeping the aspect ratio; boxes are scaled per axis and clipped."""
    height, width = composition.size
    size = fitted_size((height, width), largest)
    instances = composition.instances.affine((size[1] / width, size[0] / height)).clip(size)
    new, old = np.array([*size[::-1]] * 2), np.array([width, height] * 2)
    # Multiply before dividing, so that an edge of the canvas stays a whole number.
    layers = tuple(replace(layer, rectangle=layer.rectangle * new / old) for layer in composition.layers)
    return replace(composition, layers=layers, size=size, instances=instances)


def crop(composition: Composition, top: int, left: int, size: tuple[int, int]) -> Composition:
    """Crop a window of at most (H, W) at (top, left); boxes are clipped, those outside are dropped."""
    corner = np.array([left, top] * 2)
    size = min(size[0], composition.size[0] - top), min(size[1], composition.size[1] - left)
    instances = composition.instances.affine((1.0, 1.0), (-left, -top)).clip(size).with_area()
    layers = tuple(replace(layer, rectangle=layer.rectangle - corner) for layer in composition.layers)
    return replace(composition, layers=layers, size=size, instances=instances)


def render(composition: Composition) -> Sample:
    """The pixels in new memory, with the unchanged ground truth."""
    canvas = np.full((*composition.size, 3), PAD_VALUE, dtype=np.uint8)  # (H, W, 3)
    height, width = composition.size
    for layer in composition.layers:
        # A pixel shows the layer that contains its center.
        edges = np.clip(np.ceil(layer.rectangle - 0.5).astype(int), 0, [width, height, width, height])
        x1, y1, x2, y2 = edges.tolist()
        if x1 < x2 and y1 < y2:
            paint = _resize_and_cut if layer.is_whole else _sample
            paint(layer, canvas[y1:y2, x1:x2], (x1, y1))
    return Sample(canvas, composition.instances, composition.meta)


def _resize_and_cut(layer: Layer, window: np.ndarray, corner: tuple[int, int]) -> None:
    """Fill a window of the canvas, at corner (x, y), with exactly the pixels of the reference."""
    x1, y1, x2, y2 = layer.rectangle.astype(int).tolist()
    left, top = corner[0] - x1, corner[1] - y1
    size = y2 - y1, x2 - x1
    image = layer.image if layer.image.shape[:2] == size else resize_image(layer.image, size)
    window[:] = image[top : top + window.shape[0], left : left + window.shape[1]]


def _sample(layer: Layer, window: np.ndarray, corner: tuple[int, int]) -> None:
    """Fill a window of the canvas, at corner (x, y), with pixels interpolated from a layer.

    Differs from mmdet, which scales the whole mosaic and then crops it: pixels differ by rounding, and at the seams
    each pixel shows one image where bilinear scaling would blend two.
    """
    (x1, y1, x2, y2), (height, width) = layer.rectangle, layer.image.shape[:2]
    step_x, step_y = width / (x2 - x1), height / (y2 - y1)  # pixels of the image per pixel of the canvas
    # Pixel centers are at half coordinates; cv2 counts from the center of the first pixel.
    start_x = (corner[0] + 0.5 - x1) * step_x - 0.5
    start_y = (corner[1] + 0.5 - y1) * step_y - 0.5
    cv2.warpAffine(
        layer.image,
        np.array([[step_x, 0, start_x], [0, step_y, start_y]]),
        (window.shape[1], window.shape[0]),
        dst=window,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


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
