"""How large the objects arrive at the network's input, against its strides 8, 16 and 32.

Legend: N usable boxes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from rtmdet.core.letterbox import fitted_size
from rtmdet.data.coco.file import CocoAnnotation
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding

STRIDES = (8, 16, 32)
MANY_SMALL = 0.1  # share of the boxes under the finest stride that a training suffers from
FEW_SMALL = 0.05  # share that the advice aims at
LARGEST_FACTOR = 2.0  # input sizes grow so far; beyond, tiles are cheaper


def sides_at_input(
    file: AnnotationFile, annotations: Sequence[CocoAnnotation], input_size: tuple[int, int]
) -> np.ndarray:
    """The sides (N, 2) of boxes as (width, height) in pixels of the letterboxed input of (H, W)."""
    scales = {}
    for image_id, image in file.images.items():
        height, width = fitted_size((image["height"], image["width"]), input_size)
        scales[image_id] = width / image["width"], height / image["height"]
    sides = np.array([annotation["bbox"][2:] for annotation in annotations], np.float64).reshape(-1, 2)
    return sides * np.array([scales[annotation["image_id"]] for annotation in annotations]).reshape(-1, 2)


def fractions_by_stride(sides: np.ndarray) -> dict[str, float]:
    """The share 0 .. 1 of boxes (N, 2) whose shorter side lies under 8 px, between the strides, and above."""
    shorter = sides.min(1)
    edges = (0, *STRIDES, math.inf)
    names = ["under 8 px", "8 to 16 px", "16 to 32 px", "32 px and more"]
    counts = [((shorter >= low) & (shorter < high)).sum() for low, high in pairwise(edges)]
    return {name: float(count) / max(len(sides), 1) for name, count in zip(names, counts, strict=True)}


def find_small_boxes(
    file: AnnotationFile, annotations: Sequence[CocoAnnotation], sides: np.ndarray, input_size: tuple[int, int]
) -> Iterator[Finding]:
    """Boxes that may lie between the centers of the finest priors, with the input size that would mend it."""
    shorter = sides.min(1)
    small = [int(place) for place in np.argsort(shorter, kind="stable") if shorter[place] < STRIDES[0]]
    items = tuple(file.box_item(annotations[k], f"{sides[k, 0]:.1f} x {sides[k, 1]:.1f} px") for k in small)
    share = len(items) / max(len(sides), 1)
    message = f"boxes under {STRIDES[0]} px at the input of {input_size[1]} x {input_size[0]} ({share:.1%})"
    many = share > MANY_SMALL
    advice = _advice_for_small(shorter, input_size) if many else "few: nothing, or take a larger data.input_size"
    yield Finding("warning" if many else "hint", "small-box", file.source.name, message, advice, items)


def _advice_for_small(shorter: np.ndarray, input_size: tuple[int, int]) -> str:
    """The larger input, or the tiles, that leave few of the boxes under the finest stride."""
    factor = STRIDES[0] / max(float(np.quantile(shorter, FEW_SMALL)), 1e-3)
    if factor <= LARGEST_FACTOR:
        height, width = (math.ceil(side * factor / 32) * 32 for side in input_size)
        return f"data.input_size=[{height}, {width}] leaves {FEW_SMALL:.0%} of them"
    return (
        f"{FEW_SMALL:.0%} of them would remain at {factor:.1f} times the input size: "
        f"cut the images into {math.ceil(factor)} x {math.ceil(factor)} tiles with some overlap"
    )
