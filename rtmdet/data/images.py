"""Image files: pixels as RGB, sizes from the header, and one clear line for every file that is not whole.

Legend: H, W height and width after the turn that the file's EXIF orientation asks for.
"""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from rtmdet.core.errors import InputError
from rtmdet.core.pictures import ValueRange, exif_orientation, to_8_bits

# Once and for the whole process: OpenCV's own lines about files that we report. To set it back after each file would
# leave it, among threads, at what another one had set.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip

DEEP_SUFFIXES = (".jp2", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff")  # which may hold 16 bits a value
DARK = 2**15  # of 65536: pictures that stay below are less than half as bright as they may be

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_SCAN = 0xDA
_PNG_START = b"\x89PNG\r\n\x1a\n"
_TURNED = (5, 6, 7, 8)  # orientations that swap height and width
_REMEDY = "replace the file or take it out of the data"


def read_image(path: str | Path, value_range: ValueRange | None = None) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Gray becomes three equal channels, transparency is left out, of a GIF that moves the first picture remains. Of 16
    bits `value_range` becomes 0 .. 255, what is outside black or white; without one the high 8 bits remain.
    Raises InputError for a file that is missing, unreadable, empty, cut short, too large or not an image.
    """
    return decode_image(path, read_image_bytes(path), value_range)


def decode_image(path: str | Path, data: bytes, value_range: ValueRange | None = None) -> np.ndarray:
    """The same from the file's bytes; `path` is what messages name. Raises InputError where they are no image."""
    with suppress(_UnreadableHeaderError):  # OpenCV may know what Pillow does not
        read_header(path, data)
    try:
        depth = 0 if value_range is None else cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | depth)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{path}: expected an image, found a file that cannot be decoded; {_REMEDY}")
    return cv2.cvtColor(to_8_bits(image, value_range), cv2.COLOR_BGR2RGB)


def used_range(data: bytes) -> ValueRange | None:
    """The values between which all but one in a thousand of an image's 16-bit values are, at either end.

    None for images of 8 bits, and for what cannot be decoded.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        return None
    if image is None or image.dtype != np.uint16:
        return None
    low, high = np.quantile(image, (0.001, 0.999))
    return int(low), max(int(np.ceil(high)), int(low) + 1)


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of the array that `read_image` would give, from the file's header, without decoding.

    Raises InputError as `read_image` does, except for damage that only decoding can find.
    """
    return read_header(path, read_image_bytes(path)).size


class _UnreadableHeaderError(InputError):
    """Pillow knows no such file."""


class ImageHeader(NamedTuple):
    """What the first bytes of an image file say."""

    size: tuple[int, int]  # (H, W) of the array that `read_image` would give
    orientation: int  # EXIF's, 1 .. 8: 1 is upright


def read_header(path: str | Path, data: bytes) -> ImageHeader:
    """The header in a file's bytes; `path` is what messages name.

    Raises InputError where it is not readable, or the image has more pixels than Pillow's limit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of half the limit
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                orientation = exif_orientation(image)
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise InputError(
            f"{path}: expected an image of at most {most / 1e6:.0f} million pixels, found a larger one; cut it into "
            "tiles of a few thousand pixels a side"
        ) from error
    except Exception as error:  # Pillow raises a dozen types for a damaged header
        raise _UnreadableHeaderError(
            f"{path}: expected an image, found a file without a readable header; {_REMEDY}"
        ) from error
    return ImageHeader((width, height) if orientation in _TURNED else (height, width), orientation)


def read_image_bytes(path: str | Path) -> bytes:
    """The bytes of an image file, known to be neither empty nor cut short; raises InputError where they are not."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such image file; check the path") from error
    except OSError as error:
        raise InputError(f"{path}: the image cannot be read ({error.strerror}); check the file") from error
    if not data:
        raise InputError(f"{path}: expected an image, found an empty file; {_REMEDY}")
    if _is_cut_short(data):
        raise InputError(f"{path}: the image is truncated (its end is missing); copy the file again or {_REMEDY}")
    return data


def _is_cut_short(data: bytes) -> bool:
    """Whether the end of a JPEG or PNG is missing: decoders may pass over it and leave the rest gray."""
    if data.startswith(_JPEG_START):
        return _is_cut_short_jpeg(data)
    if data.startswith(_PNG_START):
        return not 0 <= data.rfind(b"IEND") <= len(data) - 8  # 4 bytes of name, 4 of checksum
    return False


def _is_cut_short_jpeg(data: bytes) -> bool:
    """Whether no end marker follows the first scan.

    The segments before the scan are stepped over, since an EXIF thumbnail has an end marker of its own; what
    follows the end does not matter, since phones append videos there.
    """
    position = len(_JPEG_START)
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return False  # not the layout of a JPEG: the decoder shall judge
        if data[position + 1] == _JPEG_SCAN:
            return data.rfind(_JPEG_END, position) < 0  # a sound file has it at its very end
        if data[position + 1] == 0xFF:  # a fill byte
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True
