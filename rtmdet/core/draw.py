"""Drawing on photos: boxes with their names, and translucent outlines.

All images are (H, W, 3) uint8 RGB and are not modified: every function returns a new array. Coordinates are
pixels of the drawn image. Dimension legend: N boxes or outlines, V vertices.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rtmdet.core.class_colors import Color
from rtmdet.core.errors import InputError
from rtmdet.core.picture_source import with_source
from rtmdet.core.whole_file import write_whole

FONT = cv2.FONT_HERSHEY_SIMPLEX
LARGEST_JPEG = 65500  # pixels of a side
_BLACK: Color = (20, 20, 20)
_WHITE: Color = (255, 255, 255)
_SUBPIXEL_BITS = 4  # cv2 takes coordinates in 1/16 pixel
_CAPITAL = cv2.getTextSize("H", FONT, 1.0, 1)[0][1]  # height in pixels at a font scale of 1


def draw_boxes(image: np.ndarray, boxes: np.ndarray, texts: Sequence[str], colors: Sequence[Color]) -> np.ndarray:
    """Draw boxes (N, 4) xyxy with a label each ("" for none), the first on top.

    Lines and letters scale with the image and are finer for small boxes, letters also where most boxes are small.
    Labels stay inside the picture and never overlap: they are placed in the order of the boxes, and left out if there
    is no space.
    """
    canvas, (height, width) = image.copy(), image.shape[:2]
    for box, color in reversed(list(zip(boxes, colors, strict=True))):
        x1, y1, x2, y2 = box
        if x2 > 0 and x1 < width and y2 > 0 and y1 < height:  # also its lines at or beyond the edge are seen
            x1, y1, x2, y2 = np.clip(box, 0.5, np.array([width, height] * 2) - 0.5)
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        thickness = max(1, min(line_width(image), round(_side(box) / 16)))
        cv2.polylines(canvas, [_fixed_point(corners)], True, color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    taken: list[_Label] = []
    typical = float(np.median([_side(box) for box in boxes])) if len(boxes) else 0.0
    for box, text, color in zip(boxes, texts, colors, strict=True):
        label = _place_label(image.shape[:2], box, text, taken, typical) if text else None
        if label is not None:
            taken.append(label)
            _draw_label(canvas, label, color)
    return canvas


def draw_polygons(image: np.ndarray, polygons: Sequence[np.ndarray], colors: Sequence[Color]) -> np.ndarray:
    """Outlines (V, 2) as (x, y), filled with their color, through which the image is seen."""
    canvas = image.copy()
    shapes = [_fixed_point(polygon) for polygon in polygons]
    for shape, color in zip(shapes, colors, strict=True):
        cv2.fillPoly(canvas, [shape], color, cv2.LINE_AA, _SUBPIXEL_BITS)
    canvas = cv2.addWeighted(canvas, 0.4, image, 0.6, 0)
    for shape, color in zip(shapes, colors, strict=True):
        cv2.polylines(canvas, [shape], True, color, line_width(image), cv2.LINE_AA, _SUBPIXEL_BITS)
    return canvas


def line_width(image: np.ndarray) -> int:
    """Width in pixels of a line that is clearly visible on the image, at least 1."""
    return max(1, round(min(image.shape[:2]) / 250))


def text_scale(height: float) -> float:
    """cv2's font scale for capitals of `height` pixels."""
    return height / _CAPITAL


def shorten_text(text: str, width: int, scale: float, thickness: int = 1) -> str:
    """The text, or as much of its beginning as fits into `width` pixels."""

    def too_wide(shown: str) -> bool:
        return cv2.getTextSize(shown, FONT, scale, thickness)[0][0] > width

    text = text[: max(width, 0) + 1]  # no letter is narrower than a pixel
    if not text or not too_wide(text):
        return text
    return f"{text[: bisect_left(range(1, len(text)), True, key=lambda kept: too_wide(f'{text[:kept]}...'))]}..."


def contrasting(color: Color) -> Color:
    """Black or white, whichever has more contrast to the color: ratios of luminances + 0.05, as in WCAG 2.2."""
    red, green, blue = ((value / 255) ** 2.2 for value in color)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return _BLACK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else _WHITE


def save_image(path: Path, image: np.ndarray, source: Path | None = None) -> None:
    """Write RGB pixels in the format of the suffix, creating the folder; `source` is the photo they show.

    Raises InputError for an unknown suffix, a picture too large for its format, or a path that cannot be written.
    """
    try:
        done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise InputError(f"{path}: expected an image suffix such as .png or .jpg, found {path.suffix!r}") from error
    if not done:  # a JPEG beyond LARGEST_JPEG
        raise InputError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels are too many for {path.suffix}; use .png"
        )
    content = encoded.tobytes() if source is None else with_source(encoded.tobytes(), source)
    write_whole(path, content, "picture")


@dataclass(frozen=True, slots=True)
class _Label:
    """A line of text on a filled background, in whole pixels of the picture."""

    text: str
    left: int
    top: int
    width: int
    height: int
    capital: float  # height of its capitals

    def overlaps(self, other: "_Label") -> bool:
        """Whether two labels overlap."""
        apart = self.left >= other.left + other.width or other.left >= self.left + self.width
        return not (apart or self.top >= other.top + other.height or other.top >= self.top + self.height)


def _place_label(
    size: tuple[int, int], box: np.ndarray, text: str, taken: Sequence[_Label], typical: float = np.inf
) -> _Label | None:
    """A place for the label of a box in a picture of (H, W) without overlapping others; None if there is none.

    `typical`: the shorter side of boxes in the picture; letters need not be larger than a quarter of it.
    """
    largest = max(8.0, min(size) / 40)
    least = max(8.0, min(min(size) / 75, typical / 4))
    wanted = float(np.clip(_side(box) / 6, least, largest))
    for capital in dict.fromkeys((wanted, least)):
        for label in _candidates(size, box, text, capital):
            if not any(label.overlaps(other) for other in taken):
                return label
    return None


def _shorten_label(text: str, width: int, scale: float, thickness: int) -> str:
    """As `shorten_text`, but a score at the end stays."""
    name, _, score = text.rpartition(" ")
    if not name or not score.replace(".", "").isdecimal():
        return shorten_text(text, width, scale, thickness)
    taken = cv2.getTextSize(f" {score}", FONT, scale, thickness)[0][0]
    return f"{shorten_text(name, width - taken, scale, thickness)} {score}"


def _candidates(size: tuple[int, int], box: np.ndarray, text: str, capital: float) -> Iterator[_Label]:
    """Candidate places for a label, best first: above the box, below it, inside if it hides little of the object."""
    height, width = size
    scale, thickness, margin = _type(capital)
    text = _shorten_label(text, width - 2 * margin, scale, thickness)
    (text_width, text_height), descent = cv2.getTextSize(text, FONT, scale, thickness)
    wide, high = text_width + 2 * margin, text_height + descent + 2 * margin
    sides = zip(box.tolist(), (width, height, width, height), strict=True)
    x1, y1, x2, y2 = (round(min(max(0, place), most)) for place, most in sides)  # NumPy takes longer for few numbers
    inside = wide <= x2 - x1 and 3 * high <= y2 - y1
    tops = [y1 - high, *([y1] if inside else []), y2, *([y2 - high] if inside else [])]
    for top in tops:
        for left in dict.fromkeys((x1, x2 - wide)):
            if 0 <= top <= height - high:
                yield _Label(text, max(min(left, width - wide), 0), top, wide, high, capital)


def _draw_label(canvas: np.ndarray, label: _Label, color: Color) -> None:
    """Draw the label in place."""
    scale, thickness, margin = _type(label.capital)
    right, bottom = label.left + label.width - 1, label.top + label.height - 1
    cv2.rectangle(canvas, (label.left, label.top), (right, bottom), color, cv2.FILLED)
    (_, text_height), _ = cv2.getTextSize(label.text, FONT, scale, thickness)
    origin = (label.left + margin, label.top + margin + text_height)
    cv2.putText(canvas, label.text, origin, FONT, scale, contrasting(color), thickness, cv2.LINE_AA)


def _type(capital: float) -> tuple[float, int, int]:
    """Font scale, thickness and margin for capitals of that height in pixels."""
    return text_scale(capital), max(1, round(capital / 10)), max(2, round(capital / 4))


def _side(box: np.ndarray) -> float:
    """The shorter side of a box in pixels, at most a million."""
    return float(min(max(min(box[2] - box[0], box[3] - box[1]), 0), 1e6))


def _fixed_point(points: np.ndarray) -> np.ndarray:
    """Points (V, 2) as cv2 takes them: relative to pixel centers, in 1/16 pixel, (V, 1, 2) int32."""
    near = np.clip(np.asarray(points, np.float64) - 0.5, -1e6, 1e6)  # larger values would overflow
    return np.round(near * 2**_SUBPIXEL_BITS).astype(np.int32).reshape(-1, 1, 2)
