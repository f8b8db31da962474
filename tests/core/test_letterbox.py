"""Letterbox: the reference bytes are compared in tests/data; here stand sizes, scales and padding."""

import numpy as np
import pytest
from golden import reference

from rtmdet.core.letterbox import PAD_VALUE, fitted_size, letterbox, letterbox_batch, pad_image, resize_image


def random_image(height: int, width: int) -> np.ndarray:
    """A (H, W, 3) uint8 image."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "target", "fitted"),
    [
        ((480, 640), (640, 640), (480, 640)),
        ((1280, 640), (640, 640), (640, 320)),
        ((37, 50), (640, 640), (474, 640)),  # enlarged; 473.6 rounds up
        ((641, 1279), (640, 640), (321, 640)),  # 320.75 rounds up
        ((641, 1281), (640, 640), (320, 640)),  # 320.25 rounds down
        ((2000, 3), (640, 640), (640, 1)),  # 0.96 rounds up
        ((9000, 2), (640, 640), (640, 1)),  # 0.14 would vanish
        ((400, 100), (320, 640), (320, 80)),  # portrait into landscape: all of it fits
        ((100, 400), (320, 640), (160, 640)),
        ((5, 5), (64, 32), (32, 32)),
    ],
)
def test_fitted_size(size: tuple[int, int], target: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(size, target) == fitted


def test_every_size_fits_and_touches_a_border() -> None:
    random = np.random.default_rng(1)
    for height, width in random.integers(1, 5000, (500, 2)).tolist():
        fitted = fitted_size((height, width), (416, 640))
        assert fitted[0] <= 416
        assert fitted[1] <= 640
        assert fitted[0] == 416 or fitted[1] == 640


@pytest.mark.parametrize("name", ["demo_jpg", "sklearn_china_bgr", *(f"arr{number}" for number in range(6))])
def test_scales_are_the_reference(name: str) -> None:
    golden = reference.load("test_pipeline")
    height, width = (int(side) for side in golden[f"{name}_ori_shape"])
    canvas, place = letterbox(np.zeros((height, width, 3), np.uint8), (640, 640))
    assert canvas.shape == tuple(golden[f"{name}_shape"])
    np.testing.assert_allclose(place.scale, golden[f"{name}_scale_factor"], rtol=1e-12)


def test_the_image_stands_top_left_and_the_rest_is_gray() -> None:
    image = random_image(20, 40)
    before = image.copy()
    canvas, place = letterbox(image, (64, 96))
    assert canvas.shape == (64, 96, 3)
    assert canvas.dtype == np.uint8
    assert place.scale == (2.4, 2.4)
    assert np.array_equal(canvas[:48], resize_image(image, (48, 96)))
    assert (canvas[48:] == PAD_VALUE).all()
    assert np.array_equal(image, before)


def test_the_scale_of_each_axis_is_that_of_the_rounded_size() -> None:
    canvas, place = letterbox(random_image(30, 7), (64, 64))
    assert place.scale == (15 / 7, 64 / 30)  # (x, y); 14.93 columns became 15
    assert (canvas[:, 15:] == PAD_VALUE).all()


def test_an_image_of_the_target_size_stays_as_it_is() -> None:
    image = random_image(64, 96)
    canvas, place = letterbox(image, (64, 96))
    assert place.scale == (1, 1)
    assert np.array_equal(canvas, image)
    canvas[:] = 0
    assert image.any(), "the canvas is a copy"


def test_padding_leaves_the_channels_in_their_order() -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    image[0, 0] = 10, 20, 30
    canvas = pad_image(image, (2, 2))
    assert canvas[0, 0].tolist() == [10, 20, 30]
    assert canvas[1, 1].tolist() == [PAD_VALUE] * 3


def test_a_batch_is_its_images_one_by_one() -> None:
    images = [random_image(30, 7), random_image(9, 64), random_image(64, 64), random_image(100, 150)]
    batch, places = letterbox_batch(images, (64, 96))
    assert batch.shape == (4, 3, 64, 96)
    for image, found, place in zip(images, batch, places, strict=True):
        canvas, expected = letterbox(image, (64, 96))
        assert np.array_equal(found.transpose(1, 2, 0), canvas)
        assert place == expected


def test_every_pixel_of_a_used_canvas_is_written() -> None:
    for height, width in ((30, 7), (9, 64)):
        used = np.zeros((64, 96, 3), np.uint8)
        image = np.full((height, width, 3), 200, np.uint8)
        canvas, _ = letterbox(image, (64, 96), used)
        assert canvas is used
        assert set(np.unique(used)) == {PAD_VALUE, 200}


def test_pixels_of_another_type_are_cast_or_refused_and_never_left_out() -> None:
    image = random_image(30, 40)
    expected, _ = letterbox(image, (64, 64))
    canvas, _ = letterbox(image.astype(np.uint16), (64, 64))
    assert np.abs(canvas.astype(int) - expected).max() <= 1  # OpenCV rounds both
    for wrong in (image[..., 0], np.concatenate([image, image[..., :1]], axis=2)):
        with pytest.raises(ValueError, match="broadcast"):
            letterbox(wrong, (64, 64))
