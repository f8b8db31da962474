"""Reads and writes whole files, with one line for every fault."""

import codecs
import errno
import hashlib
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtmdet.core.console import warn_once
from rtmdet.core.errors import InputError
from rtmdet.core.wording import one_line

SHELL_PIPES = (("/", "dev"), ("/", "proc"))  # where shells show what is piped to a command
CONTINUE = "repair that, then --resume"  # the remedy in a run that is going on
PATIENCE = 5.0  # seconds
LONGEST_NAME = 300  # characters of a path in a message; longer ones are no paths


def read_whole(path: Path, what: str = "file") -> bytes:
    """The content of a file; messages say `what` it should be. Raises InputError if it is missing or unreadable."""
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or (stat.S_ISFIFO(kind) and path.parts[:2] in SHELL_PIPES)):
            raise OSError(errno.EINVAL, "it is a device or a pipe")  # without an end
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such {what}; check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: expected a file, found a folder; name the {what} in it") from error
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        name = str(path) if len(str(path)) <= LONGEST_NAME else f"{str(path)[:LONGEST_NAME]}..."
        raise InputError(f"{name}: the {what} cannot be read ({reason_of(error)}); check the path") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits. Raises InputError as `read_whole` does."""
    return hashlib.sha256(read_whole(path)).hexdigest()


def read_text(path: Path, what: str = "file") -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Messages say `what` it should be. Raises InputError as `read_whole`, and for another encoding.
    """
    content = read_whole(path, what)
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a {what} in UTF-8, found another encoding: save it as UTF-8") from error


def decode_text(content: bytes) -> str:
    """The text of a file's bytes, in the encodings of `read_text`. Raises UnicodeDecodeError for others."""
    return content.decode(_encoding(content))


def first_line(path: Path) -> str:
    """The first line of a text file, 1000 bytes of it at most, in an encoding of `read_text`. Raises OSError."""
    with path.open("rb") as file:
        begin = file.read(1000)
    return next(iter(begin.decode(_encoding(begin), "replace").splitlines()), "")


def _encoding(content: bytes) -> str:
    return "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def write_whole(path: Path, content: bytes, what: str = "file") -> None:
    """Write a file, creating its folder; no reader sees half of it, and a previous one stays until then.

    Links stay, and so do devices and pipes, which are written to. A file that is replaced is a new one, with the
    usual permissions; the folder must be writable. Raises InputError if it cannot be written.
    """
    try:
        _write(path.resolve(), content)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise unwritable(path, error, what) from error


def write_new(path: Path, content: bytes) -> None:
    """Write a file as `write_whole` does; one with this content stays. Raises InputError where it has another."""
    if not path.exists():
        write_whole(path, content)
    elif read_whole(path) != content:
        raise InputError(f"{path} holds something else, which would be lost; give another --out")


def unwritable(path: Path, error: Exception, what: str = "file", remedy: str = "choose another path") -> InputError:
    """The line for a file or folder that cannot be written."""
    return InputError(f"{path}: the {what} cannot be written ({reason_of(error)}); {remedy}")


@contextmanager
def writing(path: Path, what: str = "file", remedy: str = "choose another path") -> Iterator[None]:
    """Turn an OSError of a block that writes a file or folder into that line. Raises InputError."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, what, remedy) from error


def _write(path: Path, content: bytes) -> None:
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    # Not with the file's own name in it: that may be as long as a name can be.
    unfinished = path.with_name(f".{os.getpid()}-{threading.get_ident()}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        unfinished.write_bytes(content)
        replace_file(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def replace_file(source: Path, target: Path) -> None:
    """Give a complete file its final name, in the place of a previous one. Raises OSError.

    Windows refuses that while another program, such as a virus scanner, has the previous one open: it is waited for.
    """
    end = time.monotonic() + (PATIENCE if sys.platform == "win32" else 0)
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.1)


def remove_file(path: Path) -> None:
    """Remove a file; one that cannot be, as where another program has it open on Windows, stays, with a warning."""
    try:
        path.unlink()
    except OSError as error:
        warn_once(f"warning: {path} cannot be removed ({reason_of(error)}): remove it by hand")


def refused(error: OSError) -> InputError:
    """The line for a file or folder that the system refuses, where nothing more is known; raises other errors."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(
            f"{error.filename or 'the output'}: cannot be written ({reason_of(error)}): make room for it"
        )
    if error.filename is None:
        if error.errno == errno.EROFS or re.search("temporary directory|cache directory", str(error)):
            return InputError(
                f"temporary files cannot be written ({one_line(error)[:200]}): set TMPDIR to a folder that can be "
                "written, and data.workers=0 or --workers 0 where there is no /dev/shm"
            )
        raise error
    return InputError(f"{error.filename}: {reason_of(error)}: check the path")


def reason_of(error: Exception) -> str:
    """Why a file cannot be read or written, on one line."""
    return one_line(getattr(error, "strerror", None) or error).removesuffix(".")
