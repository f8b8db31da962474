"""Pictures in memory: PIL images become what their files become; one line for every array that cannot be used."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from rtmdet.core.errors import InputError
from rtmdet.core.pictures import to_rgb
from rtmdet.images.reading import read_image

RGB = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))  # (48, 64, 3)
TENSOR = torch.from_numpy(RGB).permute(2, 0, 1)


def file_of(folder: Path, kind: str, mode: str, orientation: int = 1) -> Path:
    """An image file written by Pillow."""
    image = Image.fromarray(RGB).convert(mode.removesuffix("+"))
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / f"image.{kind.lower()}"
    if mode == "P+":
        image.save(path, kind, exif=exif, transparency=bytes(range(256)))
    else:
        image.save(path, kind, exif=exif)
    return path


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [("PNG", "RGB", 0), ("PNG", "RGBA", 0), ("PNG", "L", 0), ("PNG", "LA", 0), ("PNG", "1", 0), ("PNG", "P", 0),
     ("PNG", "P+", 0), ("JPEG", "RGB", 1), ("JPEG", "L", 1), ("JPEG", "CMYK", 2)],
)  # fmt: skip
def test_a_pil_image_becomes_what_its_file_becomes(tmp_path: Path, kind: str, mode: str, tolerance: int) -> None:
    path = file_of(tmp_path, kind, mode)
    pixels = to_rgb(Image.open(path), "image")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (48, 64, 3))
    assert np.abs(pixels.astype(int) - read_image(path)).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_pil_image_is_turned_as_its_file_is(tmp_path: Path, kind: str, orientation: int) -> None:
    path = file_of(tmp_path, kind, "RGB", orientation)
    image = Image.open(path)
    np.testing.assert_array_equal(to_rgb(image, "image"), read_image(path))
    np.testing.assert_array_equal(to_rgb(image, "image"), read_image(path))  # the image itself is not turned


def test_16_bits_become_what_their_file_becomes(tmp_path: Path) -> None:
    deep = np.linspace(100, 60_000, 48 * 64).astype(np.uint16).reshape(48, 64)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    image = Image.open(tmp_path / "deep.png")
    for value_range in (None, (100, 30_000)):
        pixels = to_rgb(image, "image", value_range=value_range)
        np.testing.assert_array_equal(pixels, read_image(tmp_path / "deep.png", value_range))
    np.testing.assert_array_equal(to_rgb(deep, "image", value_range=(100, 30_000)), pixels)
    np.testing.assert_array_equal(to_rgb(deep.astype(">u2"), "image", value_range=(100, 30_000)), pixels)
    for values in (deep.astype(np.int32), deep.astype(np.float32)):
        with pytest.raises(InputError, match=r"uint16 values \(100 .. 30000 .* image.astype\(np.uint16\)"):
            to_rgb(values, "image", value_range=(100, 30_000))
    assert pixels.max() == 255


@pytest.mark.parametrize(
    "picture",
    [RGB, np.dstack([RGB, RGB[..., 0]]), TENSOR, torch.cat([TENSOR, TENSOR[:1]]), np.asfortranarray(RGB)],
    ids=["array", "RGBA array", "tensor", "RGBA tensor", "other strides"],
)
def test_channels_of_arrays_and_tensors(picture: np.ndarray | torch.Tensor) -> None:
    np.testing.assert_array_equal(to_rgb(picture, "image"), RGB)
    bgr = to_rgb(picture, "image", color="bgr")
    np.testing.assert_array_equal(bgr, RGB[..., ::-1])
    assert bgr.flags.c_contiguous


@pytest.mark.parametrize("gray", [RGB[..., 0], RGB[..., :1], TENSOR[0], TENSOR[:1]])
def test_gray_becomes_three_equal_channels(gray: np.ndarray | torch.Tensor) -> None:
    np.testing.assert_array_equal(to_rgb(gray, "image"), RGB[..., :1].repeat(3, 2))


def test_the_color_concerns_arrays_alone() -> None:
    np.testing.assert_array_equal(to_rgb(Image.fromarray(RGB), "image", color="bgr"), RGB)


CUT = io.BytesIO()
Image.fromarray(RGB).save(CUT, "JPEG")
UINT8 = "expected uint8 values 0 .. 255, found"
SHAPES = r"expected an array \(H, W\), \(H, W, 3\) or \(H, W, 4\), found"


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (RGB / 255, rf"{UINT8} float64: .*times 255 .* image.astype\(np.uint8\)"),
        (TENSOR / 255, rf"{UINT8} float32: .*times 255 .* image.to\(torch.uint8\)"),
        (TENSOR.bfloat16(), f"{UINT8} bfloat16"),
        (RGB.astype(np.int64), f"{UINT8} int64"),
        (RGB > 9, f"{UINT8} bool"),
        (RGB.astype(np.uint16), f"{UINT8} uint16"),
        (RGB.transpose(2, 0, 1), rf"{SHAPES} \(3, 48, 64\): move the channels, image.transpose\(1, 2, 0\)"),
        (RGB[None], rf"{SHAPES} \(1, 48, 64, 3\): for a batch give the list of its images, list\(batch\)"),
        (RGB[:0], rf"{SHAPES} \(0, 64, 3\): it is empty"),
        (RGB[..., :2], rf"{SHAPES} \(48, 64, 2\): give gray, RGB or RGBA pixels"),
        (RGB[0, 0], rf"{SHAPES} \(3,\)"),
        (TENSOR.permute(1, 2, 0), r"found \(48, 64, 3\): move the channels, image.permute\(2, 0, 1\)"),
        (TENSOR[None], r"expected a tensor \(H, W\), .* found \(1, 3, 48, 64\): for a batch give the list"),
        (TENSOR[:, :0], "it is empty"),
        (None, "found None, which cv2.imread gives"),
        ([RGB], "expected a path, a PIL image, a uint8 array or a uint8 tensor, found list"),
        (Image.new("I", (4, 4)), "mode I, whose value range is unknown: give the path of a file with 16 bits"),
        (Image.new("F", (4, 4)), "mode F, whose value range is unknown: give the path of a file with 16 bits"),
        (Image.new("RGB", (0, 4)), "it is empty"),
        (Image.open(io.BytesIO(CUT.getvalue()[:-300])), "mode RGB cannot be converted to RGB .*truncated"),
    ],
)
def test_what_cannot_be_used_is_told(picture: object, words: str) -> None:
    with pytest.raises(InputError, match=f"^frame 7: .*{words}") as caught:
        to_rgb(picture, "frame 7")
    assert "\n" not in str(caught.value)
