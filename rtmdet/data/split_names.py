"""What a file or folder is for, by its name: training, validation or test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rtmdet.structures import InputError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "eval": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_name(file: Path) -> str:
    """What the file's name, or else a folder above it, says: train, val, test or nothing."""
    for part in (file.stem, *reversed(file.parent.parts)):
        words = re.split(r"[^a-z]+", part.lower())
        if names := [SPLITS[word] for word in words if word in SPLITS]:
            return names[0]
    return ""


def group_by_split(path: Path, files: Iterable[Path]) -> dict[str, list[Path]]:
    """The files or folders below `path` of each split; those without a word for it are train where nothing else is.

    Raises InputError where none is for training.
    """
    found: dict[str, list[Path]] = {}
    for file in sorted(files):
        found.setdefault(split_name(file.relative_to(path)), []).append(file)
    unnamed = found.pop("", [])
    if "train" not in found and unnamed:
        found["train"] = unnamed
    if "train" not in found:
        names = ", ".join(str(file) for group in found.values() for file in group)
        raise InputError(f"{path}: expected annotations for training, found only {names}; name one of them train")
    return found
