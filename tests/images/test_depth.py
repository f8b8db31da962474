"""The lines about 16-bit images: by the share of the values that they use, and by the range of the weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet.images.depth import depth_remarks, describe_flat, describe_outside, fitting_range, used_ranges


def written(folder: Path, *ranges: tuple[int, int]) -> list[Path]:
    """A picture of each range of values."""
    paths = []
    for number, (low, high) in enumerate(ranges):
        values = np.linspace(low, high, 40 * 100).round().astype(np.uint16).reshape(40, 100)
        cv2.imwrite(str(folder / f"{number}.png"), values)
        paths.append(folder / f"{number}.png")
    return paths


def flat_of(paths: list[Path]) -> tuple[str, tuple[int, int] | None] | None:
    return describe_flat(list(used_ranges(paths)), len(paths))


@pytest.mark.parametrize("low", [0, 29000, 41000, 62000])
def test_images_of_little_contrast_are_named_wherever_their_values_are(tmp_path: Path, low: int) -> None:
    """Not only dark ones: 3 % of the range is one shade of gray anywhere."""
    text, fitting = flat_of(written(tmp_path, (low, low + 2000))) or ("", None)
    assert text.startswith("1 of 1 checked images are 16-bit and use only ")
    assert text.endswith(" of 65535: they would have little contrast")
    assert fitting is not None
    assert fitting == (pytest.approx(low, abs=5), pytest.approx(low + 2000, abs=5))


@pytest.mark.parametrize("used", [(0, 65535), (0, 30000), (40000, 65535)])
def test_usual_contrast_gives_no_remark(tmp_path: Path, used: tuple[int, int]) -> None:
    assert flat_of(written(tmp_path, used)) is None


def test_one_bright_image_does_not_silence_the_remark(tmp_path: Path) -> None:
    paths = written(tmp_path, (0, 65535), (1000, 3000), (1500, 4000), (1000, 4000))
    (remark,) = depth_remarks(paths, None)
    assert remark.startswith("3 of 4 checked images are 16-bit and use only 100")
    assert ".value_range = (1002, 3997)" in remark


@pytest.mark.parametrize(
    "ranges",
    [
        [(1000, 3000), (0, 65535), (0, 60000)],  # would be clipped
        [(1000, 3000), (21000, 23000), (50000, 53000)],  # one range for all would give no contrast
    ],
)
def test_no_range_is_proposed_that_does_not_fit(tmp_path: Path, ranges: list[tuple[int, int]]) -> None:
    assert fitting_range(ranges) is None
    (remark,) = depth_remarks(written(tmp_path, *ranges), None)
    assert remark.endswith("unless these learned such images, scale their values to 0 .. 65535")


def test_images_of_several_levels_are_not_said_to_use_one_range(tmp_path: Path) -> None:
    text, _ = flat_of(written(tmp_path, (1000, 3000), (50000, 53000))) or ("", None)
    assert "2 of 2 checked images are 16-bit and each use little of 0 .. 65535: they" in text


def test_hot_pixels_do_not_silence_the_remark(tmp_path: Path) -> None:
    values = np.linspace(1000, 3000, 40 * 100).astype(np.uint16).reshape(40, 100)
    values[::8, ::8] = 65535
    cv2.imwrite(str(tmp_path / "a.png"), values)
    (remark,) = depth_remarks([tmp_path / "a.png"], None)
    assert remark.startswith("1 of 1 checked images are 16-bit and use only 10")


def test_8_bit_images_beside_a_range_are_named(tmp_path: Path) -> None:
    paths = written(tmp_path, (1000, 3000))
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((40, 100), np.uint8))
    assert depth_remarks([*paths, tmp_path / "b.png"], (1000, 3000))[1:] == [
        "1 of 2 checked images have 8 bits per value: the value_range of these weights does not scale them"
    ]


def test_the_range_of_the_weights_is_said(tmp_path: Path) -> None:
    paths = written(tmp_path, (300, 4000), (1000, 1500))
    assert depth_remarks(paths, (300, 4000)) == [
        "16-bit images: the values 300 .. 4000 become black .. white (value_range of these weights)"
    ]
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    assert depth_remarks([tmp_path / "a.png"], None) == []


@pytest.mark.parametrize("used", [(20000, 23000), (0, 60000), (0, 600), (7, 7)])
def test_images_outside_the_range_of_the_weights_are_named(tmp_path: Path, used: tuple[int, int]) -> None:
    paths = written(tmp_path, used, (300, 4000))
    (remark,) = depth_remarks(paths, (400, 4000))
    assert remark.startswith("1 of 2 checked images are 16-bit and use ")
    assert "mostly outside the value_range of these weights, 400 .. 4000: they would be nearly all black or" in remark
    assert "mostly outside data.value_range, 400" in describe_outside(
        list(used_ranges(paths)), len(paths), (400, 4000), "data.value_range"
    )
