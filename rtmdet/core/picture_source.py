"""Marks drawn pictures with their photo, so that the picture of another photo of the same name never replaces them.

A PNG or JPEG gets a comment with a digest of the photo's path, because the path itself may be private.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from rtmdet.core.paths import comparable, is_address

_BEGINNING = 1024  # bytes of a file that hold the comment
_PNG_HEADER = 33  # signature and IHDR


def with_source(encoded: bytes, source: Path) -> bytes:
    """The encoded PNG or JPEG with a mark of its photo; other formats are returned unchanged."""
    mark = source_mark(source).encode()
    if encoded.startswith(b"\x89PNG"):
        body = b"tEXt" + b"Comment\0" + mark
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return encoded[:_PNG_HEADER] + chunk + encoded[_PNG_HEADER:]
    if encoded.startswith(b"\xff\xd8\xff\xe0"):
        end = 4 + int.from_bytes(encoded[4:6], "big")  # of the JFIF header, which comes first
        return encoded[:end] + b"\xff\xfe" + struct.pack(">H", len(mark) + 2) + mark + encoded[end:]
    return encoded


def free_path(wanted: Path, source: Path, taken: set[str], *, read_mark: Callable[[Path], str] | None = None) -> Path:
    """The wanted path, or with a number added if a picture of another photo or another file has it.

    `taken` holds the paths used so far, in their `comparable` form; the new one is added. `read_mark` gives the mark
    in a file that is neither PNG nor JPEG.
    """
    return untaken_path(wanted, taken, lambda path: path.exists() and not _shows(path, source, read_mark))


def untaken_path(wanted: Path, taken: set[str], used: Callable[[Path], bool] = lambda _: False) -> Path:
    """The wanted path, or with a number added if it is among the `taken` ones or `used`; the new one is added."""
    path, number = wanted, 2
    while comparable(str(path)) in taken or used(path):
        path, number = wanted.with_name(f"{wanted.stem}_{number}{wanted.suffix}"), number + 1
    taken.add(comparable(str(path)))
    return path


def source_mark(source: Path) -> str:
    """The mark of a photo or video; addresses, which are no files, count as they are written."""
    text = os.fspath(source)  # which has one of the two slashes of an address
    place = text if is_address(text.replace(":/", "://", 1)) else os.path.realpath(source)
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()
    return f"rtmdet: of photo {digest[:32]}"


def _shows(path: Path, source: Path, read_mark: Callable[[Path], str] | None) -> bool:
    if not path.is_file():
        return False
    if read_mark is not None:
        return read_mark(path) == source_mark(source)
    with path.open("rb") as file:
        return source_mark(source).encode() in file.read(_BEGINNING)
