"""Paths as users type them."""

import os
from pathlib import Path

from rtmdet.core.errors import InputError

FilePath = str | os.PathLike[str]


def user_path(path: FilePath) -> Path:
    """A path as users type it, where ~ is their home folder; a name that only begins like that stays.

    Raises InputError for an empty one, and for one that no file can have.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise InputError(f"{text!r}: expected the path of a file or folder")
    return Path(os.path.expanduser(path))


def with_own_name(path: Path) -> Path:
    """The same path, resolved where it ends in . or .., so that its name and its parent are those on disk."""
    return path if path.name not in ("", "..") else path.resolve()


def path_or_none(path: FilePath | None) -> Path | None:
    """`user_path` of a path that may be left out."""
    return None if path is None else user_path(path)
