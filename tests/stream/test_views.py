"""Test-time augmentation: where each view shows a picture, how boxes come back, and how views are merged."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from bright import SIDE, BrightBackend, scene

from rtmdet.core.backend import Selection, detect
from rtmdet.core.detections import Detections
from rtmdet.core.nms import NmsSettings
from rtmdet.core.tiling import Tiling
from rtmdet.detector import Detector
from rtmdet.stream.detecting import DetectSettings
from rtmdet.stream.detecting import detect_frames as run_detector
from rtmdet.stream.infer import OutputSettings, infer
from rtmdet.stream.sources import find_sources
from rtmdet.stream.views import View, choose_views, merge_views


def detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
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


def test_views_vote_each_for_itself() -> None:
    """The merged boxes are those of the views: a second vote would depend on which of them are sure enough."""
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10]]
    voting = Selection(nms=NmsSettings(0.6, box_voting=True))
    assert merge_views([detections([box], [0.8], [0]) for box in boxes], voting).boxes.tolist() == boxes[:1]


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
