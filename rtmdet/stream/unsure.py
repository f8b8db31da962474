"""How unsure a detector is of a photo, for choosing the photos to label next. Legend: D detections, K classes."""

from __future__ import annotations

import numpy as np

from rtmdet.core.detections import Detections

LEAST_SCORE = 0.05  # of the detections that are looked at


def closeness(found: Detections, thresholds: np.ndarray) -> np.ndarray:
    """How close each score is to the threshold of its class, (D,): 1 at the threshold, falling to 0 at 0 and 1."""
    limits = np.clip(thresholds[found.labels], 1e-3, 1 - 1e-3)
    scores = np.asarray(found.scores, np.float64)
    return np.where(scores < limits, scores / limits, (1 - scores) / (1 - limits))


def unsureness(found: Detections, thresholds: np.ndarray) -> float:
    """The sum of closeness over all detections above LEAST_SCORE, as NumPy arrays; 0: not at all.

    Scores are unsure near `thresholds` (K,), where the detector would as soon leave the object out as show it.
    benchmarks/label_study.py compares further measures; docs/label.md has what it found.
    """
    return float(closeness(found, thresholds).sum())
