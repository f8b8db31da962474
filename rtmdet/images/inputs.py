"""What a Detector takes: one image in any form, several, or a folder."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from rtmdet.core.arrays import is_tensor
from rtmdet.core.detections import InFile, InMemory
from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below
from rtmdet.core.paths import FilePath, is_address, user_path
from rtmdet.core.pictures import COLORS, Picture, ValueRange, to_rgb
from rtmdet.core.whole_file import reason_of
from rtmdet.images.reading import IMAGE_SUFFIXES, check_image_bytes, decode_image, read_image

Encoded = bytes | bytearray | memoryview | IO[bytes]  # the content of an image file, or one that is open
ImageInput = FilePath | Picture | Encoded


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """One image on its way through the network."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    read: Callable[[], np.ndarray]  # returns the same pixels again
    path: Path | None


def open_image(image: object, name: str, color: str, value_range: ValueRange | None) -> OpenedImage:
    """One image as a Detector takes it; messages say `name`, or its path. Raises InputError, also for the color.

    `color`: the order of the channels of arrays and tensors, one of COLORS. `value_range` as for `read_image`.
    """
    if color not in COLORS:
        raise InputError(f"color {color!r}: expected {' or '.join(COLORS)}")
    if isinstance(image, str | os.PathLike):
        path = local_path(image)
        again = InFile(path.absolute(), partial(read_image, value_range=value_range))
        return OpenedImage(read_image(path, value_range), again, path)
    if is_encoded(image):
        read = partial(decode_image, name, encoded_content(image, name), value_range)
        return OpenedImage(read(), InMemory(read), None)
    pixels = to_rgb(image, name, color=color, value_range=value_range)
    return OpenedImage(pixels, InMemory(partial(np.asarray, pixels)), None)


def list_inputs(images: object) -> tuple[bool, Iterator[tuple[str, object]]]:
    """Whether the input is a single image; and all images with their names for messages."""
    if isinstance(images, str | os.PathLike):
        path = local_path(images)
        if not os.path.isdir(path):  # also for a text that no path can be
            return True, iter([(str(path), path)])
        return False, ((str(file), file) for file in images_in(path))
    single = isinstance(images, np.ndarray | Image.Image) or is_tensor(images) or is_encoded(images)
    if single or not isinstance(images, Iterable):
        return True, iter([("image", images)])
    return False, ((f"images[{index}]", image) for index, image in enumerate(images))


def is_encoded(image: object) -> bool:
    """Whether it is the content of an image file, or such a file that is open."""
    return isinstance(image, bytes | bytearray | memoryview) or callable(getattr(image, "read", None))


def encoded_content(image: object, name: str) -> bytes:
    """The content of an image file from its bytes, or read from the open file; messages say `name`.

    Raises InputError.
    """
    if not isinstance(image, bytes | bytearray | memoryview):
        try:
            image = image.read()  # type: ignore[attr-defined]  # see is_encoded
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: the open file cannot be read ({reason_of(error)}): open it again") from error
        if isinstance(image, str):
            raise InputError(f'{name}: expected a file of bytes, found one of text: open it with "rb"')
        if not image:
            raise InputError(f"{name}: the open file has nothing to read, or is at its end: seek(0) first")
    data = bytes(image)  # type: ignore[call-overload]
    check_image_bytes(name, data)
    return data


def local_path(image: str | os.PathLike[str]) -> Path:
    """The path of a file or folder. Raises InputError for an empty one, and for an address."""
    text = os.fspath(image)
    if is_address(text):
        raise InputError(f"{text}: expected the path of an image, found an address: download it, or use rtmdet infer")
    return user_path(text)


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, at least one. Raises InputError."""
    files = files_below(folder, IMAGE_SUFFIXES, levels=0)
    if not files:
        what = "none in it" if folder.is_dir() else "a file" if folder.exists() else "nothing there"
        raise InputError(f"{folder}: expected a folder with images, found {what}: give another folder")
    return files
