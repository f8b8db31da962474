"""Reads and writes the bytes of exported files."""

from __future__ import annotations

from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import write_whole


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises InputError if it is missing, unreadable or empty."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: check the path") from error
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}): check it") from error
    if not content:
        raise InputError(f"{path}: expected an exported network, found an empty file: export it again")
    return content


def write_file(path: Path, content: bytes) -> None:
    """Write a file, all of it or nothing. Raises InputError."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another --out") from error
