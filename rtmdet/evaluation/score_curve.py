"""Precision, recall and F1 against the score threshold, and the chosen threshold of a class. IoU 0.5.

Precision is the share of the detections that are right, recall that of the objects found; F1 is their harmonic mean,
2 x true positives / (detections + objects).
Dimension legend: D detections, S thresholds.
"""

from dataclasses import dataclass, field

import numpy as np

from rtmdet.evaluation.matches import ClassMatches

DEFAULT_SCORE = 0.3  # without a tuned threshold: no objects of a class, or none found
THRESHOLDS = tuple(step / 1000 for step in range(1, 1000))  # S of them
LARGEST_NOISE = 0.05  # of F1


@dataclass(frozen=True, slots=True)
class ScoreCurve:
    """Precision and recall of one class at each of THRESHOLDS, 0 .. 1, and the chosen threshold."""

    precision: tuple[float, ...] = field(repr=False)  # (S,) 1 where nothing is detected
    recall: tuple[float, ...] = field(repr=False)  # (S,)
    threshold: float

    @property
    def f1(self) -> np.ndarray:
        """F1 at each of THRESHOLDS: (S,)."""
        precision, recall = np.array(self.precision), np.array(self.recall)
        total = precision + recall
        return 2 * precision * recall / np.where(total > 0, total, 1)

    @property
    def best(self) -> float:
        """The largest F1."""
        return float(self.f1.max())

    @property
    def chosen(self) -> tuple[float, float]:
        """Precision and recall at the chosen threshold."""
        index = THRESHOLDS.index(self.threshold)
        return self.precision[index], self.recall[index]


def score_curve(matches: ClassMatches) -> ScoreCurve | None:
    """The curve of one class, from its matches at one IoU; None if F1 is 0 everywhere or there are no objects.

    The threshold is the middle of the longest stretch on which F1 is within one object's weight (1 / objects, at most
    LARGEST_NOISE, and at most half of the maximum) of the maximum.
    """
    # Not the maximum itself: with few images the top is flat, with random peaks that a single object would move.
    objects = int(matches.objects.sum())
    if not objects or not matches.found.any():
        return None
    counted = ~matches.ignored[0]
    rising = matches.scores[counted][::-1]  # (D,)
    found = matches.found[0][counted][::-1]
    first = np.searchsorted(rising, THRESHOLDS)  # (S,) a detection at the threshold itself is kept
    right = np.append(np.cumsum(found[::-1])[::-1], 0)[first]
    detections = len(rising) - first
    f1 = 2 * right / (detections + objects)
    if not f1.any():
        return None  # all true positives score below the least threshold
    start, end = _longest_stretch(f1 >= f1.max() - min(1 / objects, LARGEST_NOISE, f1.max() / 2))
    precision = np.where(detections > 0, right / np.maximum(detections, 1), 1.0)
    return ScoreCurve(tuple(precision.tolist()), tuple((right / objects).tolist()), THRESHOLDS[(start + end) // 2])


def _longest_stretch(high: np.ndarray) -> tuple[int, int]:
    """First and last index of the longest run of True; the first of equally long ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]])))
    starts, ends = edges[::2], edges[1::2] - 1
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest])
