"""When windows of large pictures are worth their time, from the sizes of the boxes.

Dimension legend: N objects.
"""

from dataclasses import dataclass

import numpy as np

SMALL = 16.0  # pixels, two strides of the finest level; larger objects are found well enough without windows
LARGEST_WINDOW = 640  # pixels of a window: the usual input size
ENLARGED = 1.5  # windows must show the objects larger by this factor at least; they cost several times the time


@dataclass(frozen=True, slots=True)
class TileAdvice:
    """What windows change for the class that needs them most, in pixels of the input (see `box_sizes`)."""

    label: int  # of the class
    input_side: int  # of the whole pictures
    side: int  # of the windows, and of the input that suits them
    before: float  # half of the objects of the class are smaller than this in the whole pictures
    after: float  # the same in the windows

    def __str__(self) -> str:
        return (
            f"have {self.before:.0f} px or less at {self.input_side} px; "
            f"with --set data.tile={self.side}, in windows of the pictures' own pixels, {self.after:.0f} px"
        )


def window_side(input_size: tuple[int, int]) -> int:
    """The side of the windows that suit an input of (H, W), the one that is recommended everywhere."""
    return min(*input_size, LARGEST_WINDOW)


def advise_tiles(
    sizes: np.ndarray, pictures: np.ndarray, labels: np.ndarray, input_size: tuple[int, int]
) -> TileAdvice | None:
    """Windows of the input's side or smaller, if half of the objects of a class are small, and much larger there.

    `sizes` (N,): those of the objects (see `box_sizes`) in pixels of their picture; `pictures` (N,): the longer side
    of the picture; `input_size` (H, W).
    """
    side = window_side(input_size)
    before, after = sizes * max(input_size) / pictures, sizes * side / np.minimum(pictures, side)
    found = []
    for label in np.unique(labels):
        own = labels == label
        whole, window = float(np.median(before[own])), float(np.median(after[own]))
        if whole < SMALL and window >= ENLARGED * whole:
            found.append(TileAdvice(int(label), max(input_size), side, whole, window))
    return min(found, key=lambda advice: advice.before, default=None)
