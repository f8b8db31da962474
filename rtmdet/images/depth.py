"""16-bit images: the values that they use, and lines about those that a network would see with little contrast."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.pictures import ValueRange
from rtmdet.core.whole_file import read_whole
from rtmdet.images.reading import PNG_START, decode_values
from rtmdet.images.tiff import read_tiff

DEEP_SUFFIXES = (".jp2", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff")  # formats with up to 16 bits per value
LOOKED_AT = 24  # files of a set whose values are checked
SCALE = "scale their values to 0 .. 65535"

_LEAST_SHARE = 1 / 3  # of 65535 that an image of usual contrast uses; a camera of 14 bits uses a quarter
_PNG_BITS = 24  # where a PNG says how many bits a value has


def describe_flat(ranges: Sequence[ValueRange], checked: int) -> tuple[str, ValueRange | None] | None:
    """What to say of 16-bit images that use a small part of their values; and the range that fits them.

    `ranges` are those of all 16-bit ones among the `checked` images. None if there are none.
    """
    flat = list(filter(is_flat, ranges))
    if not flat:
        return None
    low, high = joined(flat)
    use = f"use only {low} .. {high} of 65535" if is_flat((low, high)) else "each use little of 0 .. 65535"
    text = f"{len(flat)} of {checked} checked images are 16-bit and {use}: they would have little contrast"
    return text, fitting_range(ranges)


def depth_remarks(paths: Sequence[Path], value_range: ValueRange | None) -> list[str]:
    """Lines about the 16-bit ones of files, LOOKED_AT of a set, to weights of a `value_range` (see read_image).

    They say which values become black and white, that this leaves them little contrast, that there are images of 8
    bits among them, and TIFFs of several pages. [] if there is nothing.
    """
    ranges, checked = list(used_ranges(paths)), len(paths)
    pages = describe_pages(paths)
    if value_range is not None:
        name = "the value_range of these weights"
        if outside := describe_outside(ranges, checked, value_range, name):
            return [f"{outside}; scale their values like those of the training images", *pages]
        scaled = f"{value_range[0]} .. {value_range[1]} become black .. white (value_range of these weights)"
        lines = [f"16-bit images: the values {scaled}"] if ranges else []
        return [*lines, *describe_shallow(ranges, checked, name), *pages]
    if not (flat := describe_flat(ranges, checked)):
        return pages
    text, fitting = flat
    remedy = f"{SCALE}, or in Python set detector.value_range = {fitting}" if fitting else SCALE
    return [f"{text} for these weights; unless these learned such images, {remedy}", *pages]


def describe_shallow(ranges: Sequence[ValueRange], checked: int, name: str) -> list[str]:
    """What to say of 8-bit images beside 16-bit ones with `ranges`, to a range called `name`."""
    few = checked - len(ranges)
    return [f"{few} of {checked} checked images have 8 bits per value: {name} does not scale them"] if few else []


def describe_pages(paths: Sequence[Path]) -> list[str]:
    """What to say of TIFFs of several pages among some files."""
    headers = ((path, read_tiff(data)) for path, data in _contents(paths, (".tif", ".tiff")))
    stacks = [path for path, header in headers if header is not None and header.next_page]
    if not stacks:
        return []
    return [
        f"{len(stacks)} of {len(paths)} checked images, such as {stacks[0]}, have more pages: only the first is read"
    ]


def describe_outside(ranges: Sequence[ValueRange], checked: int, value_range: ValueRange, name: str) -> str:
    """As `describe_flat`, what to say of those that use values outside a range, called `name`; else ""."""
    first, last = value_range
    outside = [(low, high) for low, high in ranges if min(high, last) - max(low, first) < (high - low) / 2]
    if not outside:
        return ""
    low, high = joined(outside)
    return (
        f"{len(outside)} of {checked} checked images are 16-bit and use {low} .. {high}, mostly outside {name}, "
        f"{first} .. {last}: they would be nearly all black or white"
    )


def is_flat(used: ValueRange) -> bool:
    """Whether 16-bit values use so small a part of their range that the image has little contrast."""
    return used[1] - used[0] < _LEAST_SHARE * 65535


def fitting_range(ranges: Sequence[ValueRange]) -> ValueRange | None:
    """The values to scale for images that use these `ranges`; None if few are flat, or those at different values."""
    flat = list(filter(is_flat, ranges))
    fits = 2 * len(flat) > len(ranges) and is_flat(joined(flat))
    return joined(flat) if fits else None


def joined(ranges: Sequence[ValueRange]) -> ValueRange:
    """From the lowest to the highest value of one or more ranges."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def used_ranges(paths: Sequence[Path]) -> Iterator[ValueRange]:
    """The `range_of` the values of each image file that has 16-bit ones; unreadable files are left out."""
    return filter(None, (used_range(data) for _, data in _contents(paths, DEEP_SUFFIXES)))


def _contents(paths: Sequence[Path], suffixes: Sequence[str]) -> Iterator[tuple[Path, bytes]]:
    """The files with one of the suffixes, each with its bytes, without unreadable ones."""
    for path in paths:
        if path.suffix.lower() in suffixes:
            with suppress(InputError):
                yield path, read_whole(path, "image file")


def used_range(data: bytes) -> ValueRange | None:
    """The `range_of` the values in an image file's bytes; None also for undecodable files."""
    if data.startswith(PNG_START) and data[_PNG_BITS : _PNG_BITS + 1] != b"\x10":
        return None  # decoding takes long
    bits = header.bits if (header := read_tiff(data)) else 0
    if bits == 8:
        return None
    try:
        values = decode_values("image", data, keep_16_bits=False)
    except InputError:
        return None
    deep = values.dtype == np.uint8 and bits == 16  # and only the high 8 bits are read
    return range_of(values.astype(np.uint16) * 257 if deep else values)


def range_of(values: np.ndarray) -> ValueRange | None:
    """The 0.1 % and 99.9 % quantiles of 16-bit values (H, W, 3), without single hot pixels; None for 8-bit ones."""
    if values.dtype != np.uint16:
        return None
    low, high = np.quantile(cv2.medianBlur(values, 3), (0.001, 0.999))
    return int(low), max(int(np.ceil(high)), int(low) + 1)
