"""The comparison of a file with its network: it sees lost, moved, renamed and differently scored boxes."""

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

from rtmdet.core.detections import Detections
from rtmdet.deploy.exported import ExportedBackend
from rtmdet.exporting.agreement import SAME_HALF_BOX, compare_detections

CLASSES = ("cat", "dog")
IMAGE = np.zeros((100, 100, 3), np.uint8)


class Fixed:
    """Finds the same objects in every image."""

    def __init__(self, found: Detections, backend: object = None) -> None:
        self.found = found
        self.backend = backend

    def thresholds(self) -> tuple[float, ...]:
        return (0.5, 0.3)

    def __call__(self, image: np.ndarray, *, score: list[float], max_detections: int, tile: int) -> Detections:
        assert tile == 0, "windows of pictures are compared one by one"
        return self.found.above(score)


def some() -> Detections:
    boxes = np.array([[0, 0, 50, 50], [50, 50, 90, 95], [10, 60, 40, 99], [0, 0, 9, 9]], np.float32)
    scores = np.array([0.9, 0.8, 0.305, 0.2], np.float32)
    return Detections(boxes, scores, np.array([0, 1, 1, 1]), classes=CLASSES)


def moved(found: Detections, pixels: float) -> Detections:
    return replace(found, boxes=found.boxes + np.array([pixels, 0, 0, 0], np.float32))


def scored(found: Detections, change: float) -> Detections:
    return replace(found, scores=found.scores + np.float32(change))


@pytest.mark.parametrize(
    ("change", "matched", "box", "score"),
    [
        (lambda found: found, 1.0, 0.0, 0.0),
        (lambda found: moved(found, 0.25), 1.0, 0.25, 0.0),
        (lambda found: found[1:], 4 / 5, 0.0, 0.0),
        (lambda found: moved(found, 5), 0.0, 0.0, 0.0),
        (lambda found: scored(found, -0.008), 1.0, 0.0, 0.008),  # one is now below its threshold, but not by much
        (lambda found: scored(found, 0.09), 1.0, 0.0, 0.09),
        (lambda found: replace(found, labels=1 - found.labels), 0.0, 0.0, 0.0),
        (lambda found: found[:0], 0.0, 0.0, 0.0),
    ],
)
def test_what_it_sees(change: Callable[[Detections], Detections], matched: float, box: float, score: float) -> None:
    agreement = compare_detections(Fixed(some()), Fixed(change(some())), [IMAGE, IMAGE])
    assert (agreement.images, agreement.boxes) == (2, 6)
    assert agreement.matched == pytest.approx(matched)
    assert agreement.box_difference == pytest.approx(box, abs=1e-5)
    assert agreement.score_difference == pytest.approx(score, abs=1e-6)
    assert bool(agreement.faults) == (matched < 0.995 or score > 0.01)


def test_what_nms_in_the_file_drops_by_order_is_not_missing() -> None:
    backend = Mock(spec=ExportedBackend)
    backend.facts.nms.score = 0.6
    agreement = compare_detections(Fixed(some()), Fixed(some().above(0.6), backend), [IMAGE])
    assert (agreement.boxes, agreement.matched) == (2, 1.0)
    assert compare_detections(Fixed(some()), Fixed(some()[1:2], backend), [IMAGE]).matched == pytest.approx(2 / 3)


def test_nothing_found_is_the_same() -> None:
    agreement = compare_detections(Fixed(some()[:0]), Fixed(some()[:0]), [IMAGE])
    assert (agreement.matched, agreement.faults) == (1.0, [])


def test_boxes_of_16_bits_may_move_a_little() -> None:
    pair = Fixed(some()), Fixed(moved(some(), 2))  # IoU 0.93 to 0.96
    assert compare_detections(*pair, [IMAGE]).matched < 1
    assert compare_detections(*pair, [IMAGE], same_box=SAME_HALF_BOX).matched == 1
    assert compare_detections(pair[0], Fixed(moved(some(), 9)), [IMAGE], same_box=SAME_HALF_BOX).matched == 0
