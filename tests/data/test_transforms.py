"""Colors and padding beyond the reference's cases: every shift, every shape of image."""

import cv2
import numpy as np
import pytest

from rtmdet.core.structures import ImageMeta, Instances, Sample
from rtmdet.data.augment.transforms import pad, shift_hsv


def sample(*size: int) -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return Sample(image, Instances(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), ImageMeta(0, "", size[:2]))


@pytest.mark.parametrize("size", [(64, 48), (1, 1), (4, 1), (1, 4)])
@pytest.mark.parametrize("shift", [(0, 0, 0), (5, 30, -30), (-5, -30, 30), (-180, 300, -300), (179, 0, 1)])
def test_colors_are_shifted_exactly(size: tuple[int, int], shift: tuple[int, int, int]) -> None:
    given = sample(*size)
    before = given.image.copy()
    hsv = cv2.cvtColor(given.image, cv2.COLOR_RGB2HSV).astype(int) + shift
    hsv[..., 0] %= 180
    expected = cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)
    np.testing.assert_array_equal(shift_hsv(given, shift).image, expected)
    np.testing.assert_array_equal(given.image, before)


def test_padding_is_gray_on_the_right_and_at_the_bottom() -> None:
    given = sample(20, 30)
    padded = pad(given, (32, 64)).image
    np.testing.assert_array_equal(padded[:20, :30], given.image)
    assert (padded[20:] == 114).all()
    assert (padded[:, 30:] == 114).all()
    assert pad(given, (20, 30)) is given
