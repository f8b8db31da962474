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
_ALIKE = 21.0  # distance below which colors look alike; the FIRST ones are further apart than that
_HUES = 30  # times the tones: the number of colors in the palette
# Linear RGB as seen without the green and without the red cones: Machado, Oliveira and Fernandes, 2009, severity 1.
_DEUTERANOPIA = ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969))
_PROTANOPIA = ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052))
_TONES = ((0.85, 0.95), (0.5, 1.0), (0.95, 0.62), (0.45, 0.78))  # saturation, value


def class_colors(names: Sequence[str]) -> list[Color]:
    """A color for each name of one list; independent of letter case and of the order of the list."""
    colors, seen = _ordered_colors()
    folded = [name.casefold() for name in names]
    chosen = {name: COCO.index(name) for name in folded if name in COCO}
    displaced = {}
    for name in sorted(set(folded) - chosen.keys()):
        own = zlib.crc32(name.encode(errors="replace")) % FIRST
        if _distances(seen[own], seen[list(chosen.values())]).min(initial=np.inf) >= _ALIKE:
            chosen[name] = own
        else:
            displaced[name] = own
    for name, own in displaced.items():  # after all others, so that they take no one's own color
        chosen[name] = _next_color(own, list(chosen.values()), seen)
    return [colors[chosen[name]] for name in folded]


def track_colors(ids: Sequence[int | None]) -> list[Color]:
    """A color for each id of a track, from 1: the FIRST ones in turn; gray for None."""
    colors = palette(FIRST)
    return [WITHOUT_TRACK if number is None else colors[(number - 1) % FIRST] for number in ids]


def palette(count: int) -> list[Color]:
    """`count` distinct colors; the first ones do not depend on `count`."""
    colors, _ = _ordered_colors()
    return [colors[index % len(colors)] for index in range(count)]


def _next_color(own: int, taken: Sequence[int], seen: np.ndarray) -> int:
    """The first color from `own` on that differs clearly from the taken ones, else the most different one."""
    order = np.roll(np.arange(len(seen)), -own)
    apart = _distances(seen[order][:, None], seen[list(taken)]).min(1)
    free = np.flatnonzero(apart >= _ALIKE)
    return int(order[free[0] if len(free) else apart.argmax()])


def _distances(seen: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How different colors (..., 3, 3) look from others (..., 3, 3), to whom they differ least; with broadcasting."""
    return np.linalg.norm(seen - others, axis=-1).min(-1)


def _as_seen(rgb: np.ndarray) -> np.ndarray:
    """Colors (N, 3), 0 .. 1, in CIELAB: (N, 3, 3) with normal vision, deuteranopia and protanopia.

    The latter two are scaled by 2: there, fewer colors are to be had, and half of the distance has to do.
    """
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip([linear @ np.transpose(cones) for cones in (np.eye(3), _DEUTERANOPIA, _PROTANOPIA)], 0, 1)
    gamma = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(gamma.astype(np.float32), cv2.COLOR_RGB2LAB)  # distances as the eye sees them
    return lab.transpose(1, 0, 2) * np.array([1, 2, 2])[:, None]


@functools.cache
def _ordered_colors() -> tuple[list[Color], np.ndarray]:
    """All N colors of the palette, each the most different from those before it; and (N, 3, 3) as they are seen."""
    hues = [(0.93 + index / _HUES) % 1 for index in range(_HUES)]  # the first is a pink that is rare in photos
    hsv = [(hue, saturation, value) for saturation, value in _TONES for hue in hues]
    rgb = np.array([colorsys.hsv_to_rgb(*color) for color in hsv])
    seen = _as_seen(rgb)
    order = [0]
    nearest = _distances(seen, seen[0])
    while len(order) < len(seen):
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(seen, seen[order[-1]]))
    return [(int(red), int(green), int(blue)) for red, green, blue in np.round(255 * rgb[order])], seen[order]
