"""Converts pictures in memory of all usual types to RGB pixels.

Legend: H, W height and width after EXIF orientation is applied.
"""

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rtmdet.core.arrays import is_tensor
from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.wording import one_line, shown

if TYPE_CHECKING:
    from torch import Tensor

    Picture = np.ndarray | Tensor | Image.Image
else:
    Picture = Any  # without torch
ValueRange = tuple[int, int]  # 16-bit values that become black and white
COLORS = ("rgb", "bgr")

_ORIENTATION = 0x0112  # EXIF tag


def check_range(pair: object) -> ValueRange:
    """A pair of values as a ValueRange. Raises InputError."""
    try:
        low, high = (operator.index(value) for value in pair)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        low, high = 0, 0
    if not 0 <= low < high <= 65535:
        raise InputError(f"value_range: expected two whole numbers, 0 <= low < high <= 65535, found {shown(pair)}")
    return low, high


def to_rgb(picture: object, name: str, *, color: str = "rgb", value_range: ValueRange | None = None) -> np.ndarray:
    """The picture as (H, W, 3) uint8 RGB; messages call it `name`.

    A PIL image is rotated by its EXIF orientation. An array is (H, W), (H, W, 3) or (H, W, 4), a tensor (H, W),
    (3, H, W) or (4, H, W), both uint8, with channels in the order `color`, "rgb" or "bgr". Gray becomes three equal
    channels; transparency is dropped. 16-bit values: `value_range` is mapped to 0 .. 255; without it PIL images keep
    their high 8 bits, and arrays are refused. RGB arrays are not copied. Raises InputError for anything else.
    """
    if isinstance(picture, Image.Image):
        return _from_values(_read_pil(picture, name, value_range), name, None)
    if isinstance(picture, np.ndarray) and picture.dtype.kind in "OSU":
        raise InputError(f"{name}: expected pixels, found {picture.dtype} in an array: give list(images)")
    if not isinstance(picture, np.ndarray) and not is_tensor(picture):
        found = "None, which cv2.imread gives for a file that it cannot read" if picture is None else ""
        raise InputError(
            f"{name}: expected a path, a PIL image, a uint8 array or a uint8 tensor, "
            f"found {found or type(picture).__name__}: give one of these"
        )
    rgb = _from_values(picture, name, value_range)
    return rgb if color == "rgb" else np.ascontiguousarray(rgb[..., ::-1])


def to_8_bits(values: np.ndarray, value_range: ValueRange | None) -> np.ndarray:
    """16-bit values as uint8: `value_range` mapped to 0 .. 255, or the high 8 bits. uint8 is returned unchanged."""
    if values.dtype == np.uint8:
        return values
    if value_range is None:
        return (values >> 8).astype(np.uint8)
    low, high = value_range
    return ((values.astype(np.float32) - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation 1 .. 8 as OpenCV applies it; 1 for TIFF, which Pillow has already rotated."""
    # Not by Pillow's getexif(), which also reads XMP; OpenCV does not.
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        orientation = exif.get(_ORIENTATION, 1)
        return orientation if orientation in range(1, 9) else 1
    except Exception:  # OpenCV ignores damaged EXIF data too; the pixels are fine
        return 1


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) of a picture that is stored with an EXIF orientation 1 .. 8."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def _read_pil(image: Image.Image, name: str, value_range: ValueRange | None) -> np.ndarray:
    """The upright uint8 pixels of a PIL image, (H, W), (H, W, 3) or (H, W, 4)."""
    deep = image.mode.startswith("I;16")
    if image.mode in ("I", "F"):  # Pillow would clip all values above 255
        raise InputError(
            f"{name}: the PIL image has mode {image.mode}, whose value range is unknown: give the path of a file "
            "with 16 bits per value, or an array of uint8 values 0 .. 255"
        )
    try:
        mode = "RGBA" if image.mode == "P" else "RGB"  # Pillow warns if a palette's transparency is dropped
        plain = image if deep else image.convert(mode)
        return to_8_bits(upright(np.asarray(plain), exif_orientation(image)), value_range if deep else None)
    except Exception as error:  # a damaged file, which is decoded only now, or a mode without conversion to RGB
        blame_memory(error)
        raise InputError(
            f"{name}: the PIL image of mode {image.mode} cannot be converted to RGB ({one_line(error)}): replace or "
            "convert it"
        ) from error


def _from_values(values: "np.ndarray | Tensor", name: str, value_range: ValueRange | None) -> np.ndarray:
    """(H, W, 3) uint8 of an array or a tensor, with its order of channels."""
    tensor = is_tensor(values)
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    shape, kind = tuple(values.shape), str(values.dtype).removeprefix("torch.")
    if kind != "uint8" and not (kind == "uint16" and value_range):
        raise InputError(f"{name}: {_why_wrong_kind(kind, tensor, value_range)}")
    channels = 1 if len(shape) == 2 else shape[0 if tensor else -1] if len(shape) == 3 else 0
    if channels not in (1, 3, 4) or 0 in shape:
        expected = "(H, W), (3, H, W) or (4, H, W)" if tensor else "(H, W), (H, W, 3) or (H, W, 4)"
        thing = "a tensor" if tensor else "an array"
        raise InputError(f"{name}: expected {thing} {expected}, found {shape}: {_shape_remedy(shape, tensor)}")
    pixels = values.cpu().numpy() if is_tensor(values) else np.asarray(values)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif tensor:
        pixels = pixels.transpose(1, 2, 0)
    pixels = to_8_bits(pixels, value_range)
    return np.ascontiguousarray(pixels[..., :3] if channels > 1 else np.repeat(pixels, 3, axis=2))


def _why_wrong_kind(kind: str, tensor: bool, value_range: ValueRange | None) -> str:
    if kind == "uint16":
        return (
            "expected uint8 values 0 .. 255, found uint16: set detector.value_range = (low, high), the values that "
            "become 0 and 255"
        )
    cast = "image.to(torch.{})" if tensor else "image.astype(np.{})"
    if value_range:
        low, high = value_range
        return (
            f"expected uint16 values ({low} .. {high} become black .. white) or uint8, found {kind}: give "
            f"them as in the training images, {cast.format('uint16')}"
        )
    return (
        f"expected uint8 values 0 .. 255, found {kind}: bring the values to 0 .. 255 (times 255 where they are 0 .. "
        f"1), then {cast.format('uint8')}"
    )


def _shape_remedy(shape: tuple[int, ...], tensor: bool) -> str:
    if 0 in shape:
        return "it is empty; check where it comes from"
    if len(shape) == 4:
        return "for a batch give the list of its images, list(batch)"
    if len(shape) == 3 and shape[-1 if tensor else 0] in (1, 3, 4):
        moved = "permute(2, 0, 1)" if tensor else "transpose(1, 2, 0)"
        return f"move the channels, image.{moved}, or give list(stack) for a stack of gray images"
    return "give gray, RGB or RGBA pixels, for a stack of gray images list(stack)"
