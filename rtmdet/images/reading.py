"""Image files: RGB pixels, sizes from the header, and a one-line error for every damaged file.

Legend: H, W height and width after EXIF rotation.
"""

import io
import math
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.pictures import ValueRange, exif_orientation, to_8_bits, upright
from rtmdet.core.whole_file import read_whole
from rtmdet.images.tiff import bands_as_colors, is_planar_16_bits, stored_size, why_undecodable, why_unsupported

# OpenCV's own messages about files that we report, and Pillow's warning at half of its limit. Set once for the whole
# process: restoring level and filters after each file would race between threads.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip

HEIC_SUFFIXES = (".heic", ".heif")  # photos of phones that neither OpenCV nor Pillow decodes
VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".ts", ".webm", ".wmv",
)  # fmt: skip

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_SCAN = 0xDA
PNG_START = b"\x89PNG\r\n\x1a\n"
_REMEDY = "replace the file or remove it from the data"
_AVIF_BRANDS, _HEIC_BRANDS = {b"avif", b"avis"}, {b"heic", b"heix", b"mif1"}


def read_image(path: str | Path, value_range: ValueRange | None = None) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8 RGB, rotated by its EXIF orientation.

    Grayscale becomes three equal channels, transparency is dropped, three or four bands are RGB and one that is
    dropped, an animated GIF or a TIFF gives its first picture. For 16-bit images `value_range` (low, high) is scaled
    to 0 .. 255 and clipped; without it the high 8 bits are used. Raises InputError for a file that is missing,
    unreadable, empty, truncated, too large, not an image, or one of values that are signed or of more than 16 bits.
    """
    return decode_image(path, read_image_bytes(path), value_range)


def decode_image(path: str | Path, data: bytes, value_range: ValueRange | None = None) -> np.ndarray:
    """Like `read_image`, from the file's bytes; messages name `path`. Raises InputError if they are not an image."""
    return to_8_bits(decode_values(path, data, keep_16_bits=value_range is not None), value_range)


def decode_values(path: str | Path, data: bytes, *, keep_16_bits: bool = True) -> np.ndarray:
    """The (H, W, 3) RGB values of an image file's bytes, uint8 or, where it has 16 bits, uint16.

    Messages name `path`. Raises InputError if the bytes are not an image of such values, with `keep_16_bits` also for
    one of 16 bits that is read only by its high 8 bits.
    """
    if why := why_unsupported(data, keep_16_bits=keep_16_bits):
        raise InputError(f"{path}: {why}")
    header = read_header(path, data)  # also raises for what OpenCV would decode at any size
    data = bands_as_colors(data)
    ours = _is_avif(data)  # which OpenCV does not rotate
    # OpenCV's own reduction to 8 bits tears 16-bit TIFFs in tiles.
    flags = cv2.IMREAD_COLOR | (0 if is_planar_16_bits(data) else cv2.IMREAD_ANYDEPTH)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | (cv2.IMREAD_IGNORE_ORIENTATION if ours else 0))
    except cv2.error as error:
        blame_memory(error)
        image = None
    if image is None:
        np.empty((*header.size, 6), np.uint8)  # OpenCV says no more than this: MemoryError if that is the reason
        raise InputError(f"{path}: {_why_undecodable(path, data)}")
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path}: expected 8 or 16 bits per value, found {image.dtype}; save it as 16-bit PNG or TIFF"
        )
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(upright(rgb, header.orientation)) if ours else rgb


def _is_avif(data: bytes) -> bool:
    """Whether any of its brands is AVIF's; the first one may be more general."""
    return bool(_brands(data) & _AVIF_BRANDS)


def _brands(data: bytes) -> set[bytes]:
    """The formats that a file of the family of MP4 and HEIC says it has; {} for others."""
    brands = data[8 : int.from_bytes(data[:4], "big")] if data[4:8] == b"ftyp" else b""
    return {brands[at : at + 4] for at in range(0, len(brands), 4)}


def _why_undecodable(path: str | Path, data: bytes) -> str:
    if str(path).lower().endswith(HEIC_SUFFIXES) or (_brands(data) & _HEIC_BRANDS and not _is_avif(data)):
        return "expected an image, found a HEIC photo, which cannot be decoded here; convert it to JPEG"
    if str(path).lower().endswith(VIDEO_SUFFIXES):
        return "expected an image, found a video; for its frames use rtmdet infer, or rtmdet.track in Python"
    return why_undecodable(data) or f"expected an image, found a file that cannot be decoded; {_REMEDY}"


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of the array that `read_image` would return, read from the header without decoding.

    Raises InputError as `read_image` does, except for damage that only decoding can find.
    """
    return read_header(path, read_image_bytes(path)).size


def check_size(path: Path, size: tuple[int, int], given: tuple[int, int], source: str) -> None:
    """Raise InputError if the (H, W) of an image file is not that `given` by its labels, `source` in words."""
    if size != given:
        turned = False
        with suppress(_UnreadableHeaderError):
            turned = read_header(path, read_image_bytes(path)).orientation > 1
        raise InputError(
            f"{path}: expected {given[1]} x {given[0]} pixels ({source}), found {size[1]} x {size[0]} after EXIF "
            f"rotation; {size_remedy(size, given, turned=turned)}"
        )


def size_remedy(size: tuple[int, int], given: tuple[int, int], *, turned: bool) -> str:
    """What to do where the (H, W) of an image is not that `given` by its labels; `turned` by its EXIF tag."""
    if size != given[::-1]:
        return "restore the annotated version, or annotate again"
    if turned:
        return "annotated without EXIF rotation: remove the EXIF orientation tag, but keep the pixels"
    return "if the boxes fit, exchange width and height in the labels; otherwise restore the annotated version"


class _UnreadableHeaderError(InputError):
    """The header is of no kind that is known."""


class ImageHeader(NamedTuple):
    """The header of an image file."""

    size: tuple[int, int]  # (H, W) of the array that `read_image` would return
    orientation: int  # EXIF orientation 1 .. 8; 1 is upright


def read_header(path: str | Path, data: bytes) -> ImageHeader:
    """The header in a file's bytes; messages name `path`.

    Raises InputError if it is not readable, or the image has more pixels than Pillow's limit.
    """
    try:
        if (stored := stored_size(data)) is not None:
            width, height, orientation = stored
            if width * height > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError
        else:
            with Image.open(io.BytesIO(data)) as image:
                if data.startswith(PNG_START) and "exif" not in image.info and b"eXIf" in data:
                    image.load()  # it may stand behind the pixels, where OpenCV finds it, too
                (width, height), orientation = image.size, exif_orientation(image)
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise InputError(
            f"{path}: expected an image of at most {most / 1e6:.0f} million pixels, found a larger one; cut it into "
            "tiles of a few thousand pixels a side"
        ) from error
    except Exception as error:  # Pillow and struct raise a dozen types for a damaged header
        blame_memory(error)
        raise _UnreadableHeaderError(f"{path}: {_why_undecodable(path, data)}") from error
    return ImageHeader((width, height) if orientation >= 5 else (height, width), orientation)


def read_image_bytes(path: str | Path) -> bytes:
    """The bytes of an image file. Raises InputError if it is missing, unreadable, empty or truncated."""
    data = read_whole(Path(path), "image file")
    check_image_bytes(path, data)
    return data


def check_image_bytes(path: str | Path, data: bytes) -> None:
    """Raise InputError, with `path`, if the bytes of an image are none, cut short or of values that are not read."""
    if not data:
        raise InputError(f"{path}: expected an image, found an empty file; {_REMEDY}")
    if _is_cut_short(data):
        raise InputError(f"{path}: the image is truncated (its end is missing); copy the file again or {_REMEDY}")
    if why := why_unsupported(data, keep_16_bits=False):
        raise InputError(f"{path}: {why}")


def _is_cut_short(data: bytes) -> bool:
    """Whether the end of a JPEG or PNG is missing: decoders may ignore that and leave the rest gray."""
    if data.startswith(_JPEG_START):
        return _is_cut_short_jpeg(data)
    if data.startswith(PNG_START):
        return not 0 <= data.rfind(b"IEND") <= len(data) - 8  # 4 bytes of name, 4 of checksum
    return False


def _is_cut_short_jpeg(data: bytes) -> bool:
    """Whether no end marker follows the first scan."""
    # Segments before the scan are skipped: an EXIF thumbnail has an end marker of its own. Data after the end marker
    # are allowed: phones append videos there.
    position = len(_JPEG_START)
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return False  # not the layout of a JPEG: leave it to the decoder
        if data[position + 1] == _JPEG_SCAN:
            return data.rfind(_JPEG_END, position) < 0  # searched from the end, where it usually is
        if data[position + 1] == 0xFF:  # a fill byte
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True
