"""Ground truth that is moved: hand-computed numbers, and nothing changed in place."""

import numpy as np
import pytest

from rtmdet.core.structures import Instances


@pytest.fixture
def two() -> Instances:
    return Instances(np.array([[10, 20, 30, 60], [90, 0, 130, 40]], np.float32), np.array([3, 1]))


def test_affine_scales_then_shifts(two: Instances) -> None:
    moved = two.affine((2.0, 0.5), (5, -10))
    np.testing.assert_array_equal(moved.boxes, [[25, 0, 65, 20], [185, -10, 265, 10]])
    assert moved.boxes.dtype == np.float32
    np.testing.assert_array_equal(moved.labels, [3, 1])


def test_flip_twice_is_nothing(two: Instances) -> None:
    np.testing.assert_array_equal(two.flip(100).boxes, [[70, 20, 90, 60], [-30, 0, 10, 40]])
    np.testing.assert_array_equal(two.flip(100).flip(100).boxes, two.boxes)


def test_clip_keeps_all_and_with_area_drops_what_is_outside(two: Instances) -> None:
    clipped = two.clip((50, 80))
    np.testing.assert_array_equal(clipped.boxes, [[10, 20, 30, 50], [80, 0, 80, 40]])
    assert clipped.with_area().labels.tolist() == [3]
    np.testing.assert_array_equal(two.boxes[1], [90, 0, 130, 40])


def test_join_and_select(two: Instances) -> None:
    none = two.select(np.zeros(2, bool))
    assert (len(none), none.boxes.shape, none.boxes.dtype) == (0, (0, 4), np.float32)
    assert Instances.join([none, two, two.select(np.array([1]))]).labels.tolist() == [3, 1, 1]
