"""Detection in windows over large pictures: an object at a seam is found once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.tiled_detection import DECIDES, detect_tiled, merge_windows
from rtmdet.core.tiling import Tiling

SIDE = 100  # of the windows and of the network's input


class Finder:
    """Finds every bright rectangle that an input shows, whole or in part, as a detector does; reduced ones not."""

    device = "cpu"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def forward(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(len(images))
        return images

    def select(
        self, outputs: np.ndarray, input_size: tuple[int, int], letterboxes: Sequence[Letterbox], selection: Selection
    ) -> list[Detections]:
        return [
            self._of(image[0, : place.content[0], : place.content[1]] * (place.scale == (1.0, 1.0)))
            for image, place in zip(outputs, letterboxes, strict=True)
        ]

    def _of(self, image: np.ndarray) -> Detections:
        boxes, levels = [], sorted(set(np.unique(image).tolist()) - {0}, reverse=True)
        for level in levels:
            rows, columns = np.nonzero(image == level)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        scores = np.array(levels, np.float32) / 20
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, np.zeros(len(boxes), np.int64))


def detect(
    picture: np.ndarray, overlap: float = 0.2, selection: Selection | None = None, batch: int = 8
) -> Detections:
    tiling = Tiling(SIDE, overlap)
    return detect_tiled(Finder(), (SIDE, SIDE), picture, tiling, selection or Selection(), batch_size=batch)


def picture_with(objects: Sequence[tuple[int, int, int, int]], size: tuple[int, int]) -> np.ndarray:
    picture = np.zeros((*size, 3), np.uint8)
    for level, (x1, y1, x2, y2) in enumerate(objects, 10):
        picture[y1:y2, x1:x2] = level
    return picture


OBJECTS = [(5, 5, 20, 30), (70, 10, 95, 35), (150, 75, 162, 90), (78, 78, 98, 98), (380, 230, 400, 250)]


def test_each_object_is_found_once() -> None:
    """Whole, in the overlap of two or four windows, across a seam, at the picture's border."""
    found = detect(picture_with(OBJECTS, (250, 400)), 0.3)
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(OBJECTS)
    assert (np.diff(found.scores) <= 0).all()


class Joiner(Finder):
    """Takes everything bright in a reduced picture for one object, as a detector may that sees two small ones."""

    def select(
        self, outputs: np.ndarray, input_size: tuple[int, int], letterboxes: Sequence[Letterbox], selection: Selection
    ) -> list[Detections]:
        found = super().select(outputs, input_size, letterboxes, selection)
        reduced = [place.scale < (1.0, 1.0) for place in letterboxes]
        joined = [self._joined(image[0], place.scale[0]) for image, place in zip(outputs, letterboxes, strict=True)]
        return [two if small else one for one, two, small in zip(found, joined, reduced, strict=True)]

    def _joined(self, image: np.ndarray, scale: float) -> Detections:
        rows, columns = np.nonzero((image >= 10) & (image < 100))  # not the padding
        corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else []
        boxes = np.array(corners, np.float32).reshape(-1, 4) / scale
        return Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int64))


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ((10, 10, 30, 30), (34, 10, 54, 30), 2),  # one window shows both whole: there are two
        ((10, 10, 50, 40), (52, 10, 90, 40), 3),  # so large in a window that the whole picture has its say
        ((70, 10, 88, 28), (92, 10, 112, 28), 3),  # no window shows what the whole picture shows
    ],
)
def test_what_a_window_shows_whole_and_large_is_left_to_it(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int], found: int
) -> None:
    picture = picture_with([first, second], (250, 400))
    boxes = detect_tiled(Joiner(), (SIDE, SIDE), picture, Tiling(SIDE), Selection()).boxes
    assert len(boxes) == found
    assert {first, second} <= set(map(tuple, boxes.tolist()))
    alone = detect_tiled(Joiner(), (SIDE, SIDE), picture, Tiling(400), Selection()).boxes
    assert len(alone) == 1, "without windows the whole picture decides alone"
    enlarged = detect_tiled(Joiner(), (SIDE + 20, SIDE + 20), picture, Tiling(SIDE), Selection()).boxes
    assert len(enlarged) == 1, "what enlarged windows do not find may be too large for them"


def test_the_best_of_all_windows_are_kept() -> None:
    everything = detect(picture_with(OBJECTS, (250, 400)), 0.3)
    found = detect(picture_with(OBJECTS, (250, 400)), 0.3, Selection(max_detections=2), batch=5)
    assert found.scores.tolist() == everything.scores[:2].tolist()


def test_thresholds_of_the_classes_apply_before_the_merging() -> None:
    tiling, picture = Tiling(SIDE, 0.3), picture_with(OBJECTS, (250, 400))
    found = detect_tiled(Finder(), (SIDE, SIDE), picture, tiling, Selection(class_thresholds=(0.6,)))
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(OBJECTS[2:])  # scores 0.50, 0.55, 0.60 ...


def test_windows_come_in_batches() -> None:
    finder = Finder()
    detect_tiled(finder, (SIDE, SIDE), np.zeros((100, 260, 3), np.uint8), Tiling(SIDE), Selection(), batch_size=3)
    assert finder.batches == [3, 1]  # the whole and three windows


def test_a_small_picture_is_not_cut() -> None:
    finder = Finder()
    detect_tiled(finder, (SIDE, SIDE), np.full((50, 60, 3), 9, np.uint8), Tiling(SIDE), Selection())
    assert finder.batches == [1]


EVERYWHERE = np.tile([0, 0, 500, 500], (5, 1))  # windows


def test_merging() -> None:
    rows = ([0, 0, 100, 100], [2, 0, 100, 100], [0, 0, 50, 100], [0, 0, 50, 100], [300, 0, 400, 100])
    boxes = np.array(rows, np.float32)
    found = Detections(boxes, np.array([0.5, 0.6, 0.9, 0.8, 0.7], np.float32), np.array([0, 0, 0, 1, 0]))
    kept = merge_windows(found, np.array([False, False, True, True, False]), EVERYWHERE)
    assert kept.boxes.tolist() == boxes[[3, 4, 1]].tolist()  # the part of another class stays
    kept = merge_windows(found, np.zeros(5, bool), EVERYWHERE)
    assert kept.boxes.tolist() == boxes[[2, 3, 4, 1]].tolist()  # half of a box is an object of its own


def test_the_whole_box_takes_the_score_of_a_surer_piece() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 4]], np.float32)  # IoU 0.7, 0.4
    found = Detections(boxes, np.array([0.5, 0.8, 0.9], np.float32), np.zeros(3, np.int64))
    merged = merge_windows(found, np.array([False, True, True]), EVERYWHERE[:3])
    assert merged.boxes.tolist() == [[0, 0, 10, 10]]
    assert merged.scores.tolist() == pytest.approx([0.8])
    found = replace(found, scores=np.array([0.3, 0.8, 0.9], np.float32))
    merged = merge_windows(found, np.array([False, True, True]), EVERYWHERE[:3])
    assert merged.boxes.tolist() == [[0, 0, 10, 4], [0, 0, 10, 10]], "too weak to decide about the pieces"


@pytest.mark.parametrize(("whole", "cut", "stays"), [(0.19, 0.39, 1), (0.2, 0.39, 0), (0.6, 0.5, 0)])
def test_an_object_has_one_box(whole: float, cut: float, stays: int) -> None:
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 96]], np.float32)
    found = Detections(boxes, np.array([whole, cut], np.float32), np.zeros(2, np.int64))
    merged = merge_windows(found, np.array([False, True]), EVERYWHERE[:2])
    assert merged.boxes.tolist() == boxes[[stays]].tolist()
    assert merged.scores.tolist() == pytest.approx([max(whole, cut)])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6])
def test_what_is_found_does_not_depend_on_where_the_search_begins(threshold: float) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (400, 2))
    boxes = np.hstack([corners, corners + rng.uniform(20, 80, (400, 2))]).astype(np.float32)
    everything = Detections(boxes, rng.uniform(0, 1, 400).astype(np.float32), rng.integers(0, 2, 400))
    cut, windows = rng.uniform(size=400) < 0.5, np.tile([0, 0, 300, 300], (400, 1))
    later = everything.scores > DECIDES * threshold
    found = [
        merge_windows(some, *places).above(threshold)
        for some, *places in ((everything, cut, windows), (everything[later], cut[later], windows[later]))
    ]
    assert len(found[0]) > 10
    np.testing.assert_array_equal(found[0].boxes, found[1].boxes)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_what_a_window_shows_of_an_object_of_another_class_goes() -> None:
    """A cell of 100 x 100 pixels, 30 of which the window from x = 70 on shows; what lies on it stays."""
    whole, rest, small = [0, 0, 100, 100], [70, 5, 100, 100], [70, 40, 90, 60]
    windows = np.array([[0, 0, 200, 200], [70, 0, 270, 200], [70, 0, 270, 200]])

    def kept(*rows: list[int], scores: tuple[float, ...] = (0.9, 0.8, 0.7), cut: bool = True) -> list[list[float]]:
        found = Detections(np.array(rows, np.float32), np.array(scores, np.float32), np.arange(3))
        return merge_windows(found, np.array([False, cut, True]), windows).boxes.tolist()

    assert kept(whole, rest, small) == [whole, small]
    assert kept(whole, rest, small, scores=(0.5, 0.8, 0.7)) == [rest, small, whole], "a surer one stays"
    assert kept(whole, rest, small, cut=False) == [whole, rest, small], "no seam cuts it"
    inside = [72, 0, 100, 100]  # ends within the window, as the other does: one object of two classes
    assert kept(inside, rest, small) == [inside, rest, small]


def test_such_a_part_raises_no_score() -> None:
    """A weak box of its class in the next window does not become sure by it."""
    boxes = np.array([[0, 0, 100, 100], [70, 5, 100, 100], [60, 0, 100, 100]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8, 0.1], np.float32), np.array([0, 1, 1]))
    windows = np.array([[0, 0, 200, 200], [70, 0, 270, 200], [0, 0, 200, 200]])
    merged = merge_windows(found, np.array([False, True, False]), windows)
    assert merged.scores.tolist() == pytest.approx([0.9, 0.1])
