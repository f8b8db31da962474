"""How unsure a detector is of a photo, on hand-computed cases."""

import numpy as np
import pytest

from rtmdet.core.detections import Detections
from rtmdet.stream.ranking import closeness, uncertainty

THRESHOLDS = np.array([0.5, 0.2])


def found(*objects: tuple[float, int]) -> Detections:
    """Detections of (score, label)."""
    scores, labels = (np.array([one[part] for one in objects]) for part in (0, 1))
    boxes = np.tile([0.0, 0, 10, 10], (len(objects), 1))
    return Detections(boxes, scores.astype(np.float32), labels.astype(np.int64))


def test_closeness_is_one_at_the_threshold_of_the_class() -> None:
    values = closeness(found((0.5, 0), (0.25, 0), (0.75, 0), (0.2, 1), (0.1, 1), (0.6, 1)), THRESHOLDS)
    assert values == pytest.approx([1, 0.5, 0.5, 1, 0.5, 0.5])


def test_a_photo_without_anything_is_sure() -> None:
    assert uncertainty(found((1.0, 0))[:0], THRESHOLDS) == 0


def test_every_object_counts() -> None:
    assert uncertainty(found((0.75, 0), (0.12, 1)), THRESHOLDS) == pytest.approx(0.5 + 0.6)
