"""Prior points: the reference's order and places, odd sizes, and the cells that show padding only."""

import pytest
import torch
from golden import reference

from rtmdet.core.boxes import grid_priors, level_sizes, valid_priors

GOLDEN = reference.load("elements")


@pytest.mark.parametrize("number", [0, 1])
def test_priors_are_the_reference(number: int) -> None:
    height, width = (int(side) for side in GOLDEN[f"priors{number}_hw"])
    points, strides = grid_priors(level_sizes((height, width)))
    expected = torch.from_numpy(GOLDEN[f"priors{number}"])  # (P, 4) x, y, stride, stride
    assert torch.equal(points, expected[:, :2])
    assert torch.equal(strides, expected[:, 2])


@pytest.mark.parametrize(("number", "shown"), [(0, (300, 226)), (1, (80, 40))])
def test_valid_priors_are_the_reference(number: int, shown: tuple[int, int]) -> None:
    height, width = (int(side) for side in GOLDEN[f"priors{number}_hw"])
    found = valid_priors(level_sizes((height, width)), shown)
    assert torch.equal(found, torch.from_numpy(GOLDEN[f"valid{number}_pad_{shown[0]}x{shown[1]}"]))


def test_sizes_of_the_levels_are_rounded_up() -> None:
    assert level_sizes((640, 640)) == [(80, 80), (40, 40), (20, 20)]
    assert level_sizes((33, 64)) == [(5, 8), (3, 4), (2, 2)]


def test_priors_go_row_by_row_from_the_corner_of_each_cell() -> None:
    points, strides = grid_priors([(2, 3), (1, 1)], strides=(8, 16))
    assert points.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8], [0, 0]]
    assert strides.tolist() == [8] * 6 + [16]


def test_priors_take_the_dtype_that_is_asked_for() -> None:
    points, strides = grid_priors([(2, 2)] * 3, dtype=torch.float64)
    assert points.dtype == strides.dtype == torch.float64
    assert grid_priors([(2, 2)] * 3)[0].dtype == torch.float32


def test_cells_that_show_a_single_pixel_are_valid() -> None:
    flags = valid_priors([(2, 3), (1, 2), (1, 1)], (9, 8))
    assert flags.tolist() == [True, False, False, True, False, False, True, False, True]
    assert valid_priors([(2, 3), (1, 2), (1, 1)], (16, 24)).all()
    assert valid_priors([(2, 3), (1, 2), (1, 1)], (640, 640)).all(), "more than the input is the input"
