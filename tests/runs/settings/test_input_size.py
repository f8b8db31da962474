"""The rules for the input size: what overlaps and box sizes choose."""

import numpy as np
import pytest
import torch

from rtmdet.core.structures import DenseOutputs, Target
from rtmdet.runs.settings.input_size import (
    best_overlaps,
    climb,
    fit_shape,
    least_side,
    mean_over_classes,
    side_for_boxes,
)


def one_box_at(row: int, column: int, distance: float, *, classes: int = 2) -> DenseOutputs:
    """Outputs for a 64 x 64 input with one confident box around a point of stride 8, of the last class."""
    logits = [torch.full((1, classes, side, side), -20.0) for side in (8, 4, 2)]
    distances = [torch.full((1, 4, side, side), distance) for side in (8, 4, 2)]
    logits[0][0, -1, row, column] = 5
    return DenseOutputs(tuple(logits), tuple(distances))


def test_overlap_of_each_object_with_the_best_box_of_any_class() -> None:
    """The box is (16, 8, 32, 24). The first object is equal to it, the second its left half, the third elsewhere."""
    boxes = torch.tensor([[16.0, 8, 32, 24], [16, 8, 24, 24], [40, 40, 60, 60]])
    found = best_overlaps(one_box_at(2, 3, 8), [Target(boxes, torch.zeros(3, dtype=torch.int64))], (64, 64))
    assert [each.tolist() for each in found] == [pytest.approx([1, 0.5, 0])]


def test_no_box_at_all_overlaps_nothing() -> None:
    outputs = one_box_at(2, 3, -8)  # inverted boxes are dropped
    [found] = best_overlaps(outputs, [Target(torch.tensor([[16.0, 8, 32, 24]]), torch.tensor([0]))], (64, 64))
    assert found.tolist() == [0]
    [empty] = best_overlaps(one_box_at(2, 3, 8), [Target(torch.zeros(0, 4), torch.zeros(0).long())], (64, 64))
    assert empty.shape == (0,)


def test_rare_classes_count_as_much_as_frequent_ones() -> None:
    assert mean_over_classes(np.array([1, 1, 1, 0.0]), np.array([0, 0, 0, 2])) == 0.5


@pytest.mark.parametrize(
    ("start", "overlaps", "expected", "tried"),
    [
        (416, {320: 0.44, 416: 0.43, 512: 0.45}, 416, [320, 416, 512]),  # all alike: the size of the objects decides
        (320, {320: 0.43, 416: 0.49}, 320, [320, 416]),  # blood cells: training there gains nothing
        (512, {416: 0.15, 512: 0.20, 640: 0.26, 800: 0.28}, 640, [416, 512, 640, 800]),
        (320, {320: 0.30, 416: 0.40, 512: 0.60, 640: 0.50}, 512, [320, 416, 512, 640]),
        (640, {320: 0.60, 416: 0.70, 512: 0.55, 640: 0.40, 800: 0.30}, 416, [320, 416, 512, 640, 800]),
        (960, {800: 0.0, 960: 0.0}, 960, [800, 960]),  # weights that box nothing
        (416, {320: 0.09, 416: 0.03, 512: 0.02}, 416, [320, 416, 512]),  # text: the weights know no such objects
    ],
)
def test_a_clearly_better_neighbor_is_taken_until_there_is_none(
    start: int, overlaps: dict[int, float], expected: int, tried: list[int]
) -> None:
    calls: list[int] = []

    def overlap(side: int) -> float:
        calls.append(side)
        return overlaps[side]

    side, measured = climb(start, overlap)
    assert (side, list(measured)) == (expected, tried)
    assert sorted(calls) == tried, "none is measured twice"


def test_small_objects_of_any_class_push_the_size_up() -> None:
    large, small = np.full(20, 0.2), np.full(20, 0.02)  # 0.02 x 416 px = 8.3 px
    labels = np.repeat([0, 3], 20)
    assert least_side(large, labels[:20]) == 320
    assert least_side(np.concatenate([large, small]), labels) == 416
    assert least_side(np.full(4, 0.005), np.zeros(4)) == 960, "tiles are the remedy"
    for objects, count, side in ((16, 2, 320), (16, 3, 416), (160, 19, 320), (160, 20, 416)):
        assert least_side(np.where(np.arange(objects) < count, 0.02, 0.2), np.zeros(objects)) == side


def test_the_class_with_the_smallest_objects_chooses_the_size() -> None:
    """Nine of ten must have 18 pixels: 18 / 0.05 = 360."""
    assert side_for_boxes(np.full(3, 0.5), np.zeros(3)) == (320, 0, 1)
    sizes, labels = np.array([0.5, 0.5, 0.05, 0.05]), np.array([0, 0, 4, 4])
    assert side_for_boxes(sizes, labels) == (416, 0, 1)
    one_in_twenty = np.where(np.arange(20) == 0, 0.001, 0.5)
    assert side_for_boxes(one_in_twenty, np.zeros(20))[0] == 320
    assert side_for_boxes(np.full(3, 0.01), np.zeros(3))[0] == 640


@pytest.mark.parametrize(
    ("objects", "small", "side"),
    [(1, 1, 416), (3, 1, 320), (3, 2, 416), (16, 2, 320), (16, 3, 416), (160, 19, 320), (160, 20, 416)],
)
def test_a_class_of_few_objects_decides_only_where_its_number_is_clear(objects: int, small: int, side: int) -> None:
    """A tenth may be small and a standard deviation, 0.075 of 16, 0.024 of 160; at least one of several."""
    sizes = np.concatenate([np.full(500, 0.5), np.where(np.arange(objects) < small, 0.05, 0.5)])
    chosen, label, share = side_for_boxes(sizes, np.repeat([0, 1], [500, objects]))
    assert chosen == side
    if side == 320:
        assert (label, share) == (1, pytest.approx(1 - small / objects))


def test_the_class_that_is_named_is_the_one_that_decided() -> None:
    """2 of 16 are few enough, 124 of 1000 are not, though that is the smaller share."""
    few = np.where(np.arange(16) < 2, 0.001, 0.5)
    many = np.where(np.arange(1000) < 124, 0.001, 0.5)
    found = side_for_boxes(np.concatenate([few, many]), np.repeat([0, 1], [16, 1000]))
    assert found == (640, 1, pytest.approx(0.876))


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(480, 640)] * 3, (320, 416)),
        ([(640, 480)] * 3, (416, 320)),
        ([(640, 640)] * 3, (416, 416)),
        ([(480, 640), (640, 480)], (416, 416)),
        ([(1080, 1920)] * 2, (256, 416)),  # 234 pixels of content
        ([(100, 2000)], (32, 416)),
        ([(950, 1000), (1040, 1000)], (416, 416)),
    ],
)
def test_images_of_one_shape_get_an_input_of_that_shape(
    shapes: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert fit_shape(416, shapes) == expected
