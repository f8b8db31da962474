"""How much training images are randomly resized: less where all objects of a class have nearly one size.

Study: docs/small-data.md. Dimension legend: N ground truths.
"""

import math
from collections.abc import Sequence

import numpy as np

from rtmdet.config.recipe import Choice

LARGEST_FACTOR = 2.0  # the original's, up and down
MARGIN = 1.2  # on the factor that shows the smaller objects at the size of the larger ones
LEAST_OBJECTS = 20  # of one class at least; fewer do not show how sizes spread


def choose_resize_range(sizes: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Choice:
    """The range of random resizing for objects of these sizes (N,), above 0 in any unit, and labels (N,).

    Differs from mmdet, which resizes by 0.5 to 2 whatever the objects are: photos from one distance, as those of a
    microscope, never show such sizes, and a training of few epochs learns the sizes that there are more exactly.
    """
    if np.bincount(labels, minlength=1).max() < LEAST_OBJECTS:
        return _choice(LARGEST_FACTOR, f"as in the original: no class has {LEAST_OBJECTS} objects")
    spreads = {int(label): size_spread(sizes[labels == label]) for label in np.unique(labels)}
    widest = max(spreads, key=lambda label: spreads[label])
    reason = f"the larger objects of {classes[widest]} are {spreads[widest]:.1f} times as large as the smaller ones"
    return _choice(min(MARGIN * math.sqrt(spreads[widest]), LARGEST_FACTOR), reason)


def size_spread(sizes: np.ndarray) -> float:
    """The size that 90 % of the objects (N,) do not exceed, as a multiple of the one that 10 % do not exceed."""
    low, high = np.quantile(sizes, [0.1, 0.9])
    return float(high / low)


def _choice(factor: float, reason: str) -> Choice:
    return Choice("augmentation.resize_range", [round(1 / factor, 2), round(factor, 2)], reason)
