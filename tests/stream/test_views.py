"""Test-time augmentation: where each view shows a picture, how boxes come back, and how views are merged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bright import SIDE, BrightBackend, scene

from rtmdet.core.backend import Selection, detect
from rtmdet.core.detections import Detections
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.nms import NmsSettings
from rtmdet.core.tiling import Tiling
from rtmdet.deploy.exported import suppress
from rtmdet.deploy.views import View, choose_views, detect_in_views, merge_views
from rtmdet.detector import Detector
from rtmdet.stream.detecting import DetectSettings
from rtmdet.stream.detecting import detect_frames as run_detector
from rtmdet.stream.infer import OutputSettings, infer
from rtmdet.stream.sources import find_sources


def detections(boxes: list[list[float]], scores: Sequence[float], labels: Sequence[int]) -> Detections:
    return Detections(np.float32(boxes).reshape(-1, 4), np.float32(scores), np.int64(labels))


def test_sizes_are_multiples_of_the_stride() -> None:
    assert choose_views((320, 480), augmented=False) == [View((320, 480))]
    views = choose_views((320, 480), augmented=True)
    assert [view.size for view in views[::2]] == [(256, 352), (320, 480), (384, 608)]
    assert [view.mirrored for view in views] == [False, True] * 3
    assert len(choose_views((32, 32), augmented=True)) == 2  # three equal sizes


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("side", [64, 96])
def test_boxes_of_a_view_are_those_of_the_picture(mirrored: bool, side: int) -> None:
    view = View((side, side), mirrored)
    canvas, place = view.show(scene(4, (60, 90)))
    found = detect(BrightBackend(), canvas.transpose(2, 0, 1)[None], [place], Selection())[0]
    np.testing.assert_allclose(view.back(found, 90).boxes[0], [8, 8, 24, 24], atol=1.5)


def test_views_are_merged_by_class() -> None:
    """Of overlapping boxes of a class the surest stays; other classes and other places stay, too."""
    first = detections([[0, 0, 10, 10], [50, 50, 60, 60]], [0.6, 0.3], [0, 0])
    second = detections([[1, 0, 11, 10], [0, 0, 10, 10]], [0.8, 0.7], [0, 1])
    merged = merge_views([first, second], Selection())
    assert merged.boxes.tolist() == [[1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]]
    assert merged.labels.tolist() == [0, 1, 0]
    assert merged.scores.tolist() == pytest.approx([0.8, 0.7, 0.3])
    assert len(merge_views([first, second], Selection(max_detections=1))) == 1
    assert len(merge_views([first[:0], second[:0]], Selection())) == 0


def test_views_vote_together() -> None:
    """The second box overlaps the first by 9 / 11, at equal scores: its weight is (9 / 11 - 0.6) / 0.4 as large."""
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10]]
    voting = Selection(nms=NmsSettings(0.6, box_voting=True))
    merged = merge_views([detections([box], [0.8], [0]) for box in boxes], voting)
    share = (9 / 11 - 0.6) / 0.4
    left = share / (1 + share)
    np.testing.assert_allclose(merged.boxes, [[left, 0, 10 + left, 10]], rtol=1e-5)


@pytest.mark.parametrize("different", [False, True])
def test_boxes_do_not_depend_on_the_score_threshold(different: bool) -> None:
    """What votes in any of the views is found at a higher threshold, too; `different`: one threshold per class."""

    class ManyBoxes(BrightBackend):
        """Other boxes in each size of input, some forty in four groups, of two classes."""

        def select(
            self, outputs: Any, input_size: tuple[int, int], letterboxes: Sequence[Letterbox], selection: Selection
        ) -> list[Detections]:
            random = np.random.default_rng(input_size)
            corners = 30.0 * random.integers(0, 4, (40, 1)) + random.uniform(0, 3, (40, 2))
            found = detections(
                np.hstack([corners, corners + 20]).tolist(), random.random(40), random.integers(0, 2, 40)
            )
            return [suppress(found[found.scores > selection.least_score], selection)]

    views = [View((32, side)) for side in (32, 64, 96)]
    canvas = [view.show(np.zeros((160, 160, 3), np.uint8)) for view in views]

    def found(score: float) -> Detections:
        thresholds = (score, 1.05 * score) if different else ()
        selection = Selection(score, NmsSettings(0.6, box_voting=True), class_thresholds=thresholds)
        return detect_in_views(ManyBoxes(), views, [canvas], [160], selection)[0]

    low, high = found(0.1), found(0.9)
    least = np.array([0.9, 0.945 if different else 0.9])[low.labels]
    assert 2 < len(high) < len(low)
    np.testing.assert_allclose(high.boxes, low[low.scores > least].boxes, rtol=1e-6)


@pytest.mark.parametrize("tiling", [None, Tiling(32)])
def test_the_rule_for_overlaps_is_that_of_the_detector(
    detector: Detector, tmp_path: Path, tiling: Tiling | None
) -> None:
    """Windows do not vote: a box moved away from a seam could not be told from a whole one."""
    cv2.imwrite(str(tmp_path / "a.png"), scene(0))
    own = detector.with_nms(NmsSettings(0.5, box_voting=True))
    settings = DetectSettings({"bright": 0.3}, tiling=tiling)
    assert len(list(run_detector(own, find_sources([str(tmp_path)]).sources, settings))) == 1
    assert isinstance(own.backend, BrightBackend)
    rules = {selection.nms for selection in own.backend.selections}
    assert rules == {own.facts.nms if tiling is None else NmsSettings(0.5)}


def test_a_run_with_views(detector: Detector, tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), scene(3 * number, (SIDE, 90)))
    sources = find_sources([str(tmp_path)]).sources
    settings = DetectSettings({"bright": 0.3}, batch=2, augmented=True)
    detector.input_size = (128, 128)
    outcomes = infer(detector, sources, settings, OutputSettings(tmp_path / "out"), weights="a")
    for number, outcome in enumerate(outcomes):
        assert outcome.entry is not None
        (found,) = outcome.entry["objects"]
        np.testing.assert_allclose(found["box"], [6 * number, 8, 6 * number + 16, 24], atol=2)
    assert isinstance(detector.backend, BrightBackend)
    assert detector.backend.batches == [2] * 6 + [1] * 6
