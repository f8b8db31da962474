"""The input size of detection: upwards from the training's, the best in the mean of several APs."""

import pytest

from rtmdet.runs.validation import LARGEST_LOSS, LEAST_GAIN, Size, best_size, larger


@pytest.mark.parametrize(
    ("size", "following"),
    [
        ((320, 320), (416, 416)),
        ((416, 416), (512, 512)),
        ((512, 512), (640, 640)),
        ((384, 512), (480, 640)),
        ((32, 64), (64, 96)),  # a quarter is less than one step of 32
    ],
)
def test_the_next_size_is_about_a_quarter_longer(size: Size, following: Size) -> None:
    assert larger(size) == following


@pytest.mark.parametrize(
    ("precisions", "chosen", "tried"),
    [
        ([0.5, 0.48], 320, 2),
        ([0.2, 0.195], 320, 2),
        ([0.5, 0.5 + LEAST_GAIN / 2, 0.5 * (1 - LARGEST_LOSS) - 0.001], 320, 3),
        ([0.5, 0.6, 0.58], 416, 3),
        ([0.5, 0.6, 0.595, 0.61], 640, 4),
        ([0.5, 0.6, 0.7, 0.8, 0.9], 640, 4),
        ([-1.0, -1.0, -1.0, -1.0], 320, 4),
    ],
)
def test_the_size_grows_while_it_may_pay_and_to_twice_the_training_at_most(
    precisions: list[float], chosen: int, tried: int
) -> None:
    sides = [320, 416, 512, 640, 800]
    found = dict(zip(sides, precisions, strict=False))
    size, measured = best_size((320, 320), lambda asked: [found[asked[0]]], limit=8192)
    assert size == (chosen, chosen)
    assert measured == {(side, side): [found[side]] for side in sides[:tried]}


@pytest.mark.parametrize(
    ("of_validation", "chosen"),
    [
        ([0.558, 0.608, 0.650, 0.719], 640),  # objects that are smaller than those of the training
        ([0.620, 0.616, 0.600, 0.590], 416),
        ([-1.0, -1.0, -1.0, -1.0], 512),  # none: the training images alone
    ],
)
def test_training_and_validation_images_have_the_same_weight(of_validation: list[float], chosen: int) -> None:
    of_training = [0.784, 0.816, 0.824, 0.814]
    found = dict(zip([320, 416, 512, 640], zip(of_training, of_validation, strict=True), strict=True))
    assert best_size((320, 320), lambda asked: found[asked[0]], limit=8192)[0] == (chosen, chosen)


def test_the_largest_input_is_not_exceeded() -> None:
    assert best_size((320, 320), float_of_area, limit=512)[0] == (512, 512)


def float_of_area(size: Size) -> list[float]:
    return [float(size[0] * size[1])]
