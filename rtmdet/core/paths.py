"""Paths as users type them, and names that every file system takes."""

import os
import re
import unicodedata
import zlib
from collections.abc import Iterable
from pathlib import Path

from rtmdet.core.errors import InputError

FilePath = str | os.PathLike[str]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # of two letters at least: C:// is a drive of Windows
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # in the names of files on Windows
# There, no files can have these names.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d¹²³]) *(\..*)?", re.IGNORECASE)
_MOST_BYTES = 120  # of a name; file systems take 255
PYTHON_CONFIG = "a Python configuration, as OpenMMLab uses"  # nothing in it is run


def refuse_python(path: Path, expected: str) -> None:
    """Raise InputError for a configuration in Python, as people who come from OpenMMLab may give it."""
    if path.suffix.lower() == ".py":
        raise InputError(f"{path}: {PYTHON_CONFIG}; it is not run: expected {expected}, see docs/from-mmdet.md")


def user_path(path: FilePath) -> Path:
    """A path as users type it, where ~ is their home folder; a name that only begins like that stays.

    Raises InputError for an empty one, and for one that no file can have.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise InputError(f"{text!r}: expected the path of a file or folder")
    return Path(os.path.expanduser(path))


def is_address(text: str) -> bool:
    """Whether a text is the address of something on a network, such as https://host/photo.jpg."""
    return _ADDRESS.match(text) is not None


def storable_name(text: str) -> str:
    """A text as the name of a file or folder that every file system takes; _ if nothing of it can stay.

    Of a long one the middle becomes its checksum, so that there is room for more, and a suffix stays.
    """
    data = text.encode(errors="replace")  # a name in a file may have halves of letters
    if len(data) > _MOST_BYTES:
        data = data[:80] + f"_{zlib.crc32(data):08x}_".encode() + data[-30:]
    name = _FORBIDDEN.sub("_", data.decode(errors="ignore")).strip(" .")
    return f"_{name}" if not name or _DEVICE.fullmatch(name) else name


def comparable(name: str) -> str:
    """A form of a file name for comparing without regard to case and Unicode form (NFC, NFD)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def common_folder(folders: Iterable[Path]) -> Path:
    """The folder that contains all of these. Raises InputError if they are on several drives, as on Windows."""
    folders = list(folders)
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as error:
        raise InputError(
            f"{folders[0]} and others: expected images on one drive, found several: copy them to one"
        ) from error


def check_new_folder(path: Path, option: str = "--out") -> None:
    """Raise InputError, before any work, unless a folder is new or empty, and can be written to."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "other files in it" if path.is_dir() else "a file"
        raise InputError(f"{option} {path}: expected a new or empty folder, found {what}: choose another one")
    above = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{option} {path}: {above} is not a folder that can be written to: choose another one")


def with_own_name(path: Path) -> Path:
    """The same path, resolved where it ends in . or .., so that its name and its parent are those on disk."""
    return path if path.name not in ("", "..") else path.resolve()


def path_or_none(path: FilePath | None) -> Path | None:
    """`user_path` of a path that may be left out."""
    return None if path is None else user_path(path)
