"""How unsure a detector is of a photo: the measures on hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdet.core.detections import Detections
from rtmdet.stream.unsure import MEASURES, Seen, closeness, disagreement, pairwise_iou

THRESHOLDS = np.array([0.5, 0.2])


def found(*objects: tuple[float, int], boxes: object = None) -> Detections:
    """Detections of (score, label), far from each other unless boxes are given."""
    scores, labels = (np.array([one[part] for one in objects]) for part in (0, 1))
    corners = np.arange(len(objects))[:, None] * 20.0 + [0, 0, 10, 10] if boxes is None else np.array(boxes, float)
    return Detections(corners.reshape(-1, 4), scores.astype(np.float32), labels.astype(np.int64))


def seen(*objects: tuple[float, int], mirrored: Detections | None = None) -> Seen:
    plain = found(*objects)
    return Seen(plain, plain if mirrored is None else mirrored, THRESHOLDS)


def test_closeness_is_one_at_the_threshold_of_the_class() -> None:
    values = closeness(found((0.5, 0), (0.25, 0), (0.75, 0), (0.2, 1), (0.1, 1), (0.6, 1)), THRESHOLDS)
    assert values == pytest.approx([1, 0.5, 0.5, 1, 0.5, 0.5])


def test_a_photo_without_anything_is_sure_except_for_the_weakest() -> None:
    values = {name: measure(seen()) for name, measure in MEASURES.items()}
    assert values.pop("weakest") == 1
    assert set(values.values()) == {0}


def test_measures_of_two_objects() -> None:
    both = seen((0.75, 0), (0.12, 1))
    values = {
        name: MEASURES[name](both) for name in ("total", "weighted", "mean", "nearly", "middle", "weakest", "objects")
    }
    assert values == pytest.approx(
        {
            "total": 0.5 + 0.6,
            "weighted": 0.75 * 0.5 + 0.12 * 0.6,
            "mean": (0.75 * 0.5 + 0.12 * 0.6) / 0.87,
            "nearly": 0.6,
            "middle": 1,
            "weakest": 0.25,
            "objects": 1,
        }
    )


def test_equal_views_agree() -> None:
    assert MEASURES["mirror"](seen((0.9, 0), (0.3, 1))) == 0


def test_views_disagree_in_score_place_and_number() -> None:
    plain = found((0.8, 0), (0.6, 0), (0.4, 0), (0.9, 1))
    other = found((0.4, 0), (0.7, 1), boxes=[[0, 0, 10, 10], [20, 20, 30, 30]])
    parts = disagreement(Seen(plain, other, THRESHOLDS))
    # The first object has half the score; the second is another class there, the third is shown in neither view, the
    # fourth and that other class are each in one view only.
    assert sorted(parts) == pytest.approx([0.5, 1, 1, 1])
    assert MEASURES["mirror"](Seen(plain, other, THRESHOLDS)) == pytest.approx(3.5 / 4)
    assert MEASURES["mirror_total"](Seen(plain, other, THRESHOLDS)) == pytest.approx(3.5)


def test_each_box_is_matched_once() -> None:
    one = found((0.8, 0), boxes=[[0, 0, 10, 10]])
    two = found((0.8, 0), (0.8, 0), boxes=[[0, 0, 10, 8], [0, 0, 10, 10]])
    for views in ((one, two), (two, one)):
        assert sorted(disagreement(Seen(*views, THRESHOLDS))) == pytest.approx([0, 1])


def test_iou() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
    assert pairwise_iou(boxes[:1], boxes) == pytest.approx(np.array([[1, 1 / 3, 0]]))
