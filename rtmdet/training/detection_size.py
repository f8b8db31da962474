"""Choosing the input size at which a trained detector works best.

Training with random resizing shows objects larger than detection does at the same input size: factors of 0.5 to 2 are
1.25 on average. So the trained weights are often better at a larger input size; how much larger
depends on the data. The effect is known as the train-test resolution discrepancy (Touvron et al., 2019,
arXiv:1906.06423). AP on training images ranks the sizes as AP on other images does: docs/small-data.md.
"""

from __future__ import annotations

from collections.abc import Callable

from rtmdet.core.priors import STRIDES

STEP = 1.25  # from one size to the next
LARGEST = 2.0  # times the training size
LEAST_GAIN = 0.003  # of AP, to justify the cost of the next size

Size = tuple[int, int]  # (H, W)


def larger(size: Size) -> Size:
    """The next size: each side about STEP times as long."""
    coarsest = STRIDES[-1]
    height, width = (max(int(side * STEP / coarsest + 0.5) * coarsest, side + coarsest) for side in size)
    return height, width


def best_size(start: Size, precision: Callable[[Size], float], *, limit: int) -> tuple[Size, dict[Size, float]]:
    """Enlarge from the training size while AP gains enough; returns the size, and the AP of every tried size.

    `precision` measures AP at a size. No side becomes longer than LARGEST times its length, nor than `limit`.
    """
    measured = {start: precision(start)}
    size = start
    while True:
        following = larger(size)
        if max(following) > limit or any(new > LARGEST * old for new, old in zip(following, start, strict=True)):
            return size, measured
        measured[following] = precision(following)
        if measured[following] - measured[size] < LEAST_GAIN:
            return size, measured
        size = following
