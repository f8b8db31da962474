"""The color of a class depends on its name, so that it is the same in all pictures and data sets.

COCO's 80 names have fixed colors. Any other name has one of the FIRST colors of the palette, by its hash. Only if two
names of a list would look alike, COCO's or else the first in the alphabet keeps its color, and the other one gets the
next color that differs from all: a few dozen different colors cannot belong to one name each.
"""

import colorsys
import functools
import zlib
from collections.abc import Sequence

import cv2
import numpy as np

Color = tuple[int, int, int]  # RGB, 0 .. 255

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
WITHOUT_TRACK: Color = (160, 160, 160)
FIRST = 24  # colors that are easy to tell apart
_ALIKE = 30.0  # distance in CIELAB below which colors look alike; the FIRST ones are further apart than that
_HUES = 30  # times the tones: the number of colors in the palette
_TONES = ((0.85, 0.95), (0.5, 1.0), (0.95, 0.62), (0.45, 0.78))  # saturation, value


def class_colors(names: Sequence[str]) -> list[Color]:
    """A color for each name of one list; independent of letter case and of the order of the list."""
    colors, lab = _ordered_colors()
    folded = [name.casefold() for name in names]
    chosen = {name: COCO.index(name) for name in folded if name in COCO}
    displaced = {}
    for name in sorted(set(folded) - chosen.keys()):
        own = zlib.crc32(name.encode(errors="replace")) % FIRST
        if _distances(lab[own], lab[list(chosen.values())]).min(initial=np.inf) >= _ALIKE:
            chosen[name] = own
        else:
            displaced[name] = own
    for name, own in displaced.items():  # after all others, so that they take no one's own color
        chosen[name] = _next_color(own, list(chosen.values()), lab)
    return [colors[chosen[name]] for name in folded]


def track_colors(ids: Sequence[int | None]) -> list[Color]:
    """A color for each id of a track, from 1: the FIRST ones in turn; gray for None."""
    colors = palette(FIRST)
    return [WITHOUT_TRACK if number is None else colors[(number - 1) % FIRST] for number in ids]


def palette(count: int) -> list[Color]:
    """`count` distinct colors; the first ones do not depend on `count`."""
    colors, _ = _ordered_colors()
    return [colors[index % len(colors)] for index in range(count)]


def _next_color(own: int, taken: Sequence[int], lab: np.ndarray) -> int:
    """The first color from `own` on that differs clearly from the taken ones, else the most different one."""
    order = np.roll(np.arange(len(lab)), -own)
    apart = _distances(lab[order][:, None], lab[list(taken)]).min(1)
    free = np.flatnonzero(apart >= _ALIKE)
    return int(order[free[0] if len(free) else apart.argmax()])


def _distances(lab: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How different colors (..., 3) look from others (..., 3) in CIELAB; the shapes are broadcast."""
    return np.linalg.norm(lab - others, axis=-1)


@functools.cache
def _ordered_colors() -> tuple[list[Color], np.ndarray]:
    """All colors of the palette, each the most different from those before it, and their CIELAB values."""
    hues = [(0.93 + index / _HUES) % 1 for index in range(_HUES)]  # the first is a pink that is rare in photos
    hsv = [(hue, saturation, value) for saturation, value in _TONES for hue in hues]
    rgb = np.array([colorsys.hsv_to_rgb(*color) for color in hsv], np.float32)
    lab = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2LAB)[0]  # distances as the eye sees them
    order = [0]
    nearest = np.linalg.norm(lab - lab[0], axis=1)
    while len(order) < len(lab):
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[order[-1]], axis=1))
    return [(int(red), int(green), int(blue)) for red, green, blue in np.round(255 * rgb[order])], lab[order]
