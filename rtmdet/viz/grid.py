"""A grid of pictures: images of any sizes in equal cells, each with a title.

All images are (H, W, 3) uint8 RGB, sizes (H, W).
"""

from collections.abc import Sequence

import cv2
import numpy as np

from rtmdet.core.draw import FONT, shorten_text, text_scale
from rtmdet.core.letterbox import fitted_size

_GROUND = 245  # gray around the images
_INK = (40, 40, 40)
_CAPITAL = 9  # least height of capitals in pixels
_GAP = 8  # pixels between the cells
_LEAST_WIDTH = 320  # of text in pixels: beside narrow images there is more ground


def grid(
    images: Sequence[np.ndarray | None], columns: int, cell: tuple[int, int], titles: Sequence[str] | None = None
) -> np.ndarray:
    """The images row by row, each fitted into the middle of its cell, its title above it; None is an empty cell.

    With fewer images than `columns` the picture is narrower. Cells with titles are at least as wide as these need.
    Returns a new (H, W, 3) image.
    """
    if titles is not None:
        cell = cell[0], max(cell[1], _LEAST_WIDTH)
    names = [""] * len(images) if titles is None else titles
    capital = max(_CAPITAL, cell[0] // 40) if titles is not None else 0
    tiles = [_tile(image, cell, title, capital) for image, title in zip(images, names, strict=True)]
    columns = max(min(columns, len(tiles)), 1)
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2] if tiles else cell
    canvas = _blank((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def add_caption(image: np.ndarray, text: str) -> np.ndarray:
    """The image with lines of text on a strip below it, sized to the image: a new (H, W, 3) image."""
    height, width = image.shape[0], max(image.shape[1], _LEAST_WIDTH)
    left = (width - image.shape[1]) // 2
    above = _blank((height, width))
    above[:, left : left + image.shape[1]] = image
    capital = max(_CAPITAL, min(image.shape[:2]) // 60)
    scale, thickness, step = text_scale(capital), max(1, capital // 10), 2 * capital
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        fits = shorten_text(longer, width - capital, scale, thickness) == longer
        lines[-1:] = [longer] if fits or not lines[-1] else [lines[-1], word]
    strip = _blank((len(lines) * step + capital // 2, width))
    for number, line in enumerate(lines):
        shown = shorten_text(line, width - capital, scale, thickness)
        origin = (capital // 2, number * step + capital + capital // 2)
        cv2.putText(strip, shown, origin, FONT, scale, _INK, thickness, cv2.LINE_AA)
    return np.concatenate([above, strip])


def fit_image(image: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """The image resized to fit `cell` (H, W), keeping its aspect ratio; shrinking averages pixels."""
    size = fitted_size(image.shape[:2], cell)
    if size == image.shape[:2]:
        return image.copy()
    method = cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=method)


def _tile(image: np.ndarray | None, cell: tuple[int, int], title: str, capital: int) -> np.ndarray:
    """One cell with its title in capitals of that height; 0: there are no titles."""
    header = 2 * capital + 2 if capital else 0
    tile = _blank((header + cell[0], cell[1]))
    if image is None:
        return tile
    fitted = fit_image(image, cell)
    top, left = header + (cell[0] - fitted.shape[0]) // 2, (cell[1] - fitted.shape[1]) // 2
    tile[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    if title:
        scale = text_scale(capital)
        text = shorten_text(title, cell[1], scale)
        cv2.putText(tile, text, (0, capital + capital // 2), FONT, scale, _INK, 1, cv2.LINE_AA)
    return tile


def _blank(size: tuple[int, int]) -> np.ndarray:
    return np.full((*size, 3), _GROUND, np.uint8)
