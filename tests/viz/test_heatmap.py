"""Heat maps: from maps of the network to colors on a picture."""

import cv2
import numpy as np
import pytest

from rtmdet.viz.heatmap import brighten, crop_padding, heat_map, on_picture, overlay, unit_range


def test_heat_map_gets_lighter_all_the_way() -> None:
    colors = heat_map(np.array([[-3.0, 5.0]]), (1, 2))
    assert colors.dtype == np.uint8
    assert colors[0, 0].max() < 10
    assert colors[0, 1].min() > 150
    ramp = heat_map(np.arange(256.0)[None], (1, 256))
    gray = cv2.cvtColor(ramp, cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert (np.diff(gray) >= -1).all(), "rounding aside, in gray and with color blindness, too"
    assert heat_map(np.zeros((2, 3)), (20, 30)).shape == (20, 30, 3)


def test_a_constant_map_is_one_color() -> None:
    assert np.unique(heat_map(np.full((4, 4), 7.0), (8, 8)).reshape(-1, 3), axis=0).max() < 10
    assert (unit_range(np.full((2, 2), -1.0)) == 0).all()


def test_padding_is_cut_at_the_pixel() -> None:
    ramp = np.arange(8, dtype=np.float32)[None].repeat(8, 0)  # cells of 8 pixels
    cropped = crop_padding(ramp, (64, 13), (64, 64))
    assert cropped.shape == (64, 13)
    # Cell c is at 8 c, as its prior is; the center of pixel 12 is at 12.5.
    assert cropped[0, 12] == pytest.approx(12.5 / 8)
    assert crop_padding(ramp, (64, 64), (64, 64))[0, 63] == 7


@pytest.mark.parametrize("picture", [(100, 200), (200, 100)])
def test_heat_stays_where_the_object_is(picture: tuple[int, int]) -> None:
    heat = np.zeros((16, 16), np.float32)
    content = (8, 16) if picture[0] < picture[1] else (16, 8)
    heat[content[0] - 2 : content[0], content[1] - 2 : content[1]] = 1  # the content's lower right corner
    drawn = on_picture(heat, picture, (64, 64))
    assert drawn.shape == picture
    assert drawn[-1, -1] > 0.1
    assert drawn[: picture[0] // 2].max() == 0
    first = np.argwhere(drawn > 0.5).min(0) / picture  # half a cell before the first of the two cells' priors
    assert np.allclose(first, [1 - 2.5 / content[0], 1 - 2.5 / content[1]], atol=0.03)


def test_overlay_mixes_and_leaves_its_inputs() -> None:
    image, colors = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert (overlay(image, colors) == 150).all()
    assert (brighten(np.array([[[0, 60, 120]]], np.uint8)) == [0, 127, 255]).all()
    assert (brighten(np.zeros((1, 1, 3), np.uint8)) == 0).all()
    assert (image == 100).all()
