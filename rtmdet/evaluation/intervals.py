"""Confidence interval of AP: the bootstrap over images.

Images are resampled many times with replacement, and AP is computed for each resample. An image that is drawn twice
counts as two images with the same boxes, so its matches are weighted and nothing is matched again.
A resample has fewer distinct images. Interpolated precision is a maximum, so noise biases it upward; the interval is
shifted by that bias (the resamples' mean minus the measured AP). On generated data 91, 96 and 95 % of the intervals
from 13, 30 and 100 images contained the mean AP of such sets of images; without the shift 89, 92 and 95 %. If a class
is in few images it is less, down to 81 %: many resamples miss the class, and average over the others.
The interval of a difference is not shifted: both sides have the same bias, and a class that many resamples miss must
not move the many resamples without a difference away from 0. Of two equally good detectors, 3 to 12 % of the
comparisons wrongly call one better.
Reference: Efron and Tibshirani, An Introduction to the Bootstrap, chapters 10 (bias) and 13 (percentile intervals).

Dimension legend: D detections and F found objects of one class, I images, K classes, R resamples, T IoU thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtmdet.evaluation.matches import ClassMatches

RESAMPLES = 1000
LEAST_RESAMPLES = 100
WORK = 2_500_000_000  # weighted detections in all resamples: about ten seconds
CHUNK = 4_000_000  # weighted detections at a time: bounds the memory
RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's
CONFIDENCE = 0.95
LEAST_IMAGES = 5  # with objects; resamples of fewer are too alike to say anything about other images
EPSILON = np.spacing(1.0)  # COCO's, in place of a division by zero


@dataclass(frozen=True, slots=True)
class Interval:
    """The range of the middle 95 % of the resamples."""

    low: float
    high: float
    resamples: int

    def __str__(self) -> str:
        return f"{self.low:.3f} .. {self.high:.3f}"

    @property
    def sign(self) -> int:
        """1 if the whole interval is above 0, -1 if below, 0 if inconclusive."""
        return int(self.low > 0) - int(self.high < 0)


def interval(matches: Sequence[ClassMatches], *, seed: int = 0) -> Interval | None:
    """The interval of AP, within 0 .. 1; None if fewer than LEAST_IMAGES images have objects."""
    weights = draw(matches, seed=seed)
    if weights is None:
        return None
    values = average_precisions(matches, weights)
    once = np.ones((1, len(matches[0].objects)), np.int64)  # each image as it is
    shift = float(average_precisions(matches, once)[0] - np.nanmean(values))
    low, high = _middle(values)
    return Interval(max(low + shift, 0.0), min(high + shift, 1.0), len(weights))


def paired_interval(
    first: Sequence[ClassMatches], second: Sequence[ClassMatches], *, seed: int = 0
) -> Interval | None:
    """The interval of the second AP minus the first, both on the same resamples; None as above."""
    weights = draw([*first, *second], seed=seed)
    if weights is None:
        return None
    differences = average_precisions(second, weights) - average_precisions(first, weights)
    return Interval(*_middle(differences), len(weights))


def draw(matches: Sequence[ClassMatches], *, seed: int) -> np.ndarray | None:
    """How often each image is in each resample: (R, I) int64. R is smaller for large data."""
    images = len(matches[0].objects)
    if np.any([of_class.objects for of_class in matches], axis=0).sum() < LEAST_IMAGES:
        return None
    # A resample processes the detections once, and the found objects at each IoU in several steps.
    cost = sum(images + len(of_class.scores) + 6 * int(of_class.found.sum()) for of_class in matches)
    resamples = int(np.clip(WORK // cost, LEAST_RESAMPLES, RESAMPLES))
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)


def average_precisions(matches: Sequence[ClassMatches], weights: np.ndarray) -> np.ndarray:
    """AP of each resample, (R,), as COCOeval would compute it with the repeated images under new ids.

    The mean over the classes with objects in the resample; NaN if it has none. (COCOeval may order detections of one
    image differently if their scores are equal to the last bit.)
    """
    precisions = np.stack([_class_precisions(of_class, weights) for of_class in matches])  # (K, R)
    return np.ma.masked_invalid(precisions).mean(0).filled(np.nan)


def _class_precisions(matches: ClassMatches, weights: np.ndarray) -> np.ndarray:
    """AP of one class in each resample, (R,); NaN if it has no objects of it."""
    objects = weights @ matches.objects  # (R,)
    size = max(1, CHUNK // max(1, len(matches.scores)))
    parts = [
        _mean_precision(matches, weights[start : start + size], objects[start : start + size])
        for start in range(0, len(weights), size)
    ]
    return np.where(objects > 0, np.concatenate(parts), np.nan)


def _mean_precision(matches: ClassMatches, weights: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Mean over IoU and recall of the precisions of some resamples: (R,)."""
    by_detection = weights.take(matches.images, 1)  # (R, D) not by an index: that lays it out for another axis
    total = np.zeros(len(weights))
    everything = np.cumsum(by_detection, axis=1)
    for found, ignored in zip(matches.found, matches.ignored, strict=True):
        positions = np.flatnonzero(found)  # (F,) at other positions the precision-recall curve only falls
        counted = everything.take(positions, 1)
        if ignored.any():
            skipped = np.cumsum(by_detection.take(np.flatnonzero(ignored), 1), axis=1)
            earlier = np.cumsum(ignored)[positions]  # (F,) how many of the skipped ones
            counted -= np.pad(skipped, ((0, 0), (1, 0))).take(earlier, 1)
        right = np.cumsum(by_detection.take(positions, 1), axis=1)  # (R, F)
        total += _interpolated(right, counted, objects)
    return total / len(matches.found)


def _interpolated(right: np.ndarray, counted: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Mean over RECALLS of the interpolated precision, 0 where the recall is not reached: (R,).

    `right` and `counted`: true positives and all detections up to each found object, (R, F).
    """
    precision = right / (counted + EPSILON)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = right / np.maximum(objects, 1)[:, None]
    reached = np.searchsorted(RECALLS, recall, side="right")  # (R, F) how many of RECALLS
    steps = np.diff(reached, axis=1, prepend=0)
    return (precision * steps).sum(1) / len(RECALLS)


def _middle(values: np.ndarray) -> tuple[float, float]:
    """The range of the middle 95 % of the defined values."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)
