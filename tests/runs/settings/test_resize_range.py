"""The range of random resizing follows from how much the sizes of objects spread."""

import numpy as np
import pytest

from rtmdet.runs.settings.resize_range import choose_resize_range

ONE_CLASS = np.zeros(100, np.int64)


def spreading(factor: float, count: int = 100) -> np.ndarray:
    """Sizes of which the one below 90 % is `factor` times the one above 10 %."""
    return np.exp(np.log(factor) / 0.8 * np.linspace(0, 1, count))


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, [0.83, 1.2]), (1.86, [0.61, 1.64]), (3.1, [0.5, 2.0]), (50.0, [0.5, 2.0])]
)
def test_less_for_objects_of_one_size(factor: float, expected: list[float]) -> None:
    choice = choose_resize_range(spreading(factor), ONE_CLASS, ["cell"])
    assert (choice.key, choice.value) == ("augmentation.resize_range", expected)
    assert choice.reason == f"the larger objects of cell are {factor:.1f} times as large as the smaller ones"
    assert choose_resize_range(7 * spreading(factor), ONE_CLASS, ["cell"]).value == expected


def test_the_class_that_spreads_most_decides() -> None:
    sizes = np.concatenate([spreading(1.2), 9 * spreading(2.0, 40), spreading(6.0, 19)])
    labels = np.repeat([0, 1, 2], [100, 40, 19])
    choice = choose_resize_range(sizes[:-19], labels[:-19], ["red", "white", "rare"])
    assert choice.value == [0.59, 1.7]
    assert "objects of white are 2.0 times" in choice.reason
    assert choose_resize_range(sizes, labels, ["red", "white", "rare"]).value == [0.5, 2.0], "rare ones widen it"
    few = choose_resize_range(sizes[-19:], labels[-19:], ["red", "white", "rare"])
    assert few.value == [0.5, 2.0]
    assert few.reason == "as in the original: no class has 20 objects"
