"""Drawing on photos: boxes with their names, translucent outlines, and the colours for them.

All images are (H, W, 3) uint8 RGB and stay as they are: every function returns a new array. Coordinates are
pixels of the image that is drawn on. Dimension legend: N boxes or outlines, V vertices.
"""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rtmdet.core.errors import InputError

Color = tuple[int, int, int]  # RGB, 0 .. 255

FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK: Color = (20, 20, 20)
_WHITE: Color = (255, 255, 255)
_HUES = 30  # of the palette, times the tones: so many colours before they repeat
_TONES = ((0.85, 0.95), (0.5, 1.0), (0.95, 0.62), (0.45, 0.78))  # saturation, value
_SUBPIXEL_BITS = 4  # cv2 takes coordinates in 1/16 pixel


def palette(count: int) -> list[Color]:
    """`count` colours, well apart; the colour of a class does not depend on how many there are."""
    colors = _ordered_colors()
    return [colors[index % len(colors)] for index in range(count)]


@functools.cache
def _ordered_colors() -> list[Color]:
    """All colours of the palette, each the one that differs most to the eye from those before it."""
    hues = [(0.93 + index / _HUES) % 1 for index in range(_HUES)]  # the first is a pink that few photos hold
    hsv = [(hue, saturation, value) for saturation, value in _TONES for hue in hues]
    rgb = np.array([colorsys.hsv_to_rgb(*color) for color in hsv], np.float32)
    lab = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0]  # distances as the eye sees them
    order = [0]
    nearest = np.linalg.norm(lab - lab[0], axis=1)
    while len(order) < len(lab):
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[order[-1]], axis=1))
    return [(int(red), int(green), int(blue)) for red, green, blue in np.round(255 * rgb[order])]


def draw_boxes(image: np.ndarray, boxes: np.ndarray, texts: Sequence[str], colors: Sequence[Color]) -> np.ndarray:
    """Frames for boxes (N, 4) xyxy with a label each ("" for none), later ones on top; lines grow with the image."""
    canvas = image.copy()
    thickness = line_width(image)
    for box, color in zip(boxes, colors, strict=True):
        corners = np.array([[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]])
        cv2.polylines(canvas, [_fixed_point(corners)], True, color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    for box, text, color in zip(boxes, texts, colors, strict=True):
        if text:
            _draw_label(canvas, (float(box[0]), float(box[1])), text, color)
    return canvas


def draw_polygons(
    image: np.ndarray, polygons: Sequence[np.ndarray], colors: Sequence[Color], alpha: float = 0.4
) -> np.ndarray:
    """Outlines (V, 2) as (x, y), filled with their colour at the opacity `alpha` 0 .. 1."""
    canvas = image.copy()
    shapes = [_fixed_point(polygon) for polygon in polygons]
    for shape, color in zip(shapes, colors, strict=True):
        cv2.fillPoly(canvas, [shape], color, cv2.LINE_AA, _SUBPIXEL_BITS)
    canvas = cv2.addWeighted(canvas, alpha, image, 1 - alpha, 0)
    for shape, color in zip(shapes, colors, strict=True):
        cv2.polylines(canvas, [shape], True, color, line_width(image), cv2.LINE_AA, _SUBPIXEL_BITS)
    return canvas


def line_width(image: np.ndarray) -> int:
    """Width in pixels of a line that is well seen on the image, at least 1."""
    return max(1, round(min(image.shape[:2]) / 250))


def text_scale(height: float) -> float:
    """cv2's font scale for capitals of `height` pixels."""
    return height / cv2.getTextSize("H", FONT, 1.0, 1)[0][1]


def shorten_text(text: str, width: int, scale: float, thickness: int = 1) -> str:
    """The text, or as much of its beginning as fits into `width` pixels."""
    kept, shown = len(text), text
    while kept and cv2.getTextSize(shown, FONT, scale, thickness)[0][0] > width:
        kept -= 1
        shown = f"{text[:kept]}..."
    return shown


def contrasting(color: Color) -> Color:
    """Black or white, whichever is easier to read on the colour."""
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return _BLACK if luminance > 140 else _WHITE


def save_image(path: Path, image: np.ndarray) -> None:
    """Write RGB pixels in the format that the suffix names, making the folder.

    Raises InputError for an unknown suffix or a place that cannot be written.
    """
    try:
        encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    except cv2.error as error:
        raise InputError(
            f"{path}: expected a picture's suffix such as .png or .jpg, found {path.suffix!r}"
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise InputError(f"{path}: the picture cannot be written ({error.strerror}); choose another path") from error


def _draw_label(canvas: np.ndarray, corner: tuple[float, float], text: str, color: Color) -> None:
    """Write on the canvas itself: text on a filled ground above `corner` (x, y), or below where no room is."""
    height, width = canvas.shape[:2]
    capital = max(8.0, min(height, width) / 40)
    scale, thickness, margin = text_scale(capital), max(1, round(capital / 10)), max(2, round(capital / 4))
    text = shorten_text(text, width - 2 * margin, scale, thickness)
    (text_width, text_height), descent = cv2.getTextSize(text, FONT, scale, thickness)
    label_width, label_height = text_width + 2 * margin, text_height + descent + 2 * margin
    left = round(min(max(corner[0], 0), max(width - label_width, 0)))
    top = corner[1] - label_height if corner[1] >= label_height else corner[1]
    top = round(min(max(top, 0), max(height - label_height, 0)))
    cv2.rectangle(canvas, (left, top), (left + label_width - 1, top + label_height - 1), color, cv2.FILLED)
    origin = (left + margin, top + margin + text_height)
    cv2.putText(canvas, text, origin, FONT, scale, contrasting(color), thickness, cv2.LINE_AA)


def _fixed_point(points: np.ndarray) -> np.ndarray:
    """Points (V, 2) as cv2 takes them: counted from pixel centres, in 1/16 pixel, (V, 1, 2) int32."""
    near = np.clip(np.asarray(points, np.float64) - 0.5, -1e6, 1e6)  # what lies farther would overflow
    return np.round(near * 2**_SUBPIXEL_BITS).astype(np.int32).reshape(-1, 1, 2)
