"""Box sizes at the network's input, compared with the strides 8, 16 and 32.

Legend: N usable boxes.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rtmdet.core.arrays import box_sizes
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.strides import STRIDES
from rtmdet.data.coco.file import CocoAnnotation
from rtmdet.data.coco.windows import advise_tiles, window_side
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding, Item

MANY_SMALL = 0.1  # fraction of boxes under the finest stride above which training suffers
FEW_SMALL = 0.05  # fraction that the advice aims at
LARGEST_FACTOR = 2.0  # advise at most this much more input size: beyond it, tiles are cheaper


def sides_at_input(
    file: AnnotationFile, annotations: Sequence[CocoAnnotation], input_size: tuple[int, int], tile: int | None = None
) -> np.ndarray:
    """(width, height) of boxes, (N, 2), in pixels of the letterboxed input of (H, W).

    `tile`: the side of the windows that large images are cut into, which the input then shows.
    """
    scales = {}
    for image_id, image in file.images.items():
        longest = tile or max(image["height"], image["width"])
        shown = min(image["height"], longest), min(image["width"], longest)
        scales[image_id] = Letterbox.fit(shown, input_size).scale
    sides = np.array([annotation["bbox"][2:] for annotation in annotations], np.float64).reshape(-1, 2)
    return sides * np.array([scales[annotation["image_id"]] for annotation in annotations]).reshape(-1, 2)


def fractions_by_stride(sides: np.ndarray) -> dict[str, float]:
    """The fraction 0 .. 1 of boxes (N, 2) whose shorter side is under 8 px, between two strides, and above."""
    shorter = sides.min(1)
    edges = (0, *STRIDES, math.inf)
    names = ["under 8 px", "8 to 16 px", "16 to 32 px", "32 px and more"]
    counts = [((shorter >= low) & (shorter < high)).sum() for low, high in pairwise(edges)]
    return {name: float(count) / max(len(sides), 1) for name, count in zip(names, counts, strict=True)}


def find_small_boxes(
    file: AnnotationFile, annotations: Sequence[CocoAnnotation], sides: np.ndarray, input_size: tuple[int, int]
) -> Finding:
    """Boxes so small that no prior point may lie inside, with the input size that would help."""
    shorter = sides.min(1)
    small = [int(index) for index in np.argsort(shorter, kind="stable") if shorter[index] < STRIDES[0]]
    items = [file.box_item(annotations[k], f"{sides[k, 0]:.1f} x {sides[k, 1]:.1f} px") for k in small]
    share = len(items) / max(len(sides), 1)
    message = f"boxes under {STRIDES[0]} px at input size {input_size[1]} x {input_size[0]} ({share:.1%})"
    if share <= MANY_SMALL:
        advice = "only a few: no action needed, or increase data.input_size"
        return file.finding("hint", "small-box", message, advice, items)
    in_windows = sides_at_input(file, annotations, input_size, window_side(input_size))
    advice = _advice_for_small(shorter, in_windows.min(1), input_size)
    return file.finding("warning", "small-box", message, advice, items)


def _advice_for_small(shorter: np.ndarray, in_windows: np.ndarray, input_size: tuple[int, int]) -> str:
    """The larger input, or the windows, with which few boxes stay under the finest stride.

    `shorter` and `in_windows` (N,): the shorter sides as things are, and with the windows that suit the input.
    """
    factor = STRIDES[0] / max(float(np.quantile(shorter, FEW_SMALL)), 1e-3)
    if factor <= LARGEST_FACTOR:
        height, width = (math.ceil(side * factor / 32) * 32 for side in input_size)
        return f"data.input_size=[{height}, {width}] leaves only {FEW_SMALL:.0%} of all boxes that small"
    text = f"it would take {factor:.1f} times the input size until only {FEW_SMALL:.0%} of all boxes are that small"
    small, left = (float((sides < STRIDES[0]).mean()) for sides in (shorter, in_windows))
    if left > small / 2:
        return f"{text}, and windows (data.tile) show them hardly larger: images with more pixels of them would help"
    return (
        f"{text}: --set data.tile={window_side(input_size)}, in windows of the images' own pixels, leaves {left:.1%}"
    )


def find_tiles(
    file: AnnotationFile, annotations: Sequence[CocoAnnotation], input_size: tuple[int, int], tile: int | None
) -> Finding:
    """The class that needs windows most, if any does."""
    sides = np.array([annotation["bbox"][2:] for annotation in annotations], np.float64).reshape(-1, 2)
    images = [file.images[annotation["image_id"]] for annotation in annotations]
    pictures = np.array([max(image["height"], image["width"]) for image in images], np.float64)
    labels = np.array([annotation["category_id"] for annotation in annotations], np.int64)
    found = None if tile else advise_tiles(box_sizes(sides), pictures, labels, input_size)
    items = [Item(f"half of the objects of {file.categories[found.label]['name']} {found}")] if found else []
    message = "class whose objects are small in large pictures"
    advice = "windows take several times as long: compare both with rtmdet evaluate --tile before a long training"
    return file.finding("hint", "tiles", message, advice, items)
