"""When windows are recommended: small objects in large pictures, in words with numbers."""

import numpy as np
import pytest

from rtmdet.data.coco.windows import TileAdvice, advise_tiles


def advise(size: float, picture: float, side: int = 640) -> TileAdvice | None:
    return advise_tiles(np.full(5, size), np.full(5, picture), np.zeros(5, np.int64), (side, side))


def test_small_objects_in_large_pictures() -> None:
    advice = advise(22, 2000)
    assert str(advice) == (
        "have 7 px or less at 640 px; with --set data.tile=640, in windows of the pictures' own pixels, 22 px"
    )


@pytest.mark.parametrize(
    ("size", "picture", "side"),
    [
        (60, 2000, 640),  # 19 px at the input: large enough
        (10, 640, 640),  # nothing is gained: the picture is not reduced
        (10, 900, 640),  # too little: 7.1 px become 10
        (50, 640, 512),  # the craters: 40 px
        (3, 300, 640),  # the picture is enlarged already
    ],
)
def test_where_windows_would_not_help(size: float, picture: float, side: int) -> None:
    assert advise(size, picture, side) is None


def test_windows_are_not_larger_than_a_usual_input() -> None:
    assert str(advise(22, 8000, 960)).startswith("have 3 px or less at 960 px; with --set data.tile=640, in windows")


def test_the_class_with_the_smallest_objects_decides() -> None:
    sizes, labels = np.array([300.0, 20, 10, 300]), np.array([0, 1, 2, 0])
    found = advise_tiles(sizes, np.full(4, 3000.0), labels, (384, 640))
    assert found == TileAdvice(2, 640, 384, pytest.approx(10 * 640 / 3000), 10.0)
    assert advise_tiles(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), (640, 640)) is None
