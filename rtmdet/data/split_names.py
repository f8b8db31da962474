"""Tells by its name whether a file or folder is for training, validation or test."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rtmdet.core.errors import InputError
from rtmdet.core.files import sorted_paths
from rtmdet.core.wording import shortened

SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
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

T = TypeVar("T")


def usual_split(word: str) -> str:
    """train, val or test for a word that means one of them, such as valid; other words as they are."""
    return SPLIT_WORDS.get(word.lower(), word)


def split_name(file: Path) -> str:
    """The split in the file's name, or else in a folder above it: train, val, test or ""."""
    for part in (file.stem, *reversed(file.parent.parts)):
        words = re.split(r"[^a-z]+", part.lower())
        if names := [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]:
            return names[0]
    return ""


def by_split(things: Iterable[T], name: Callable[[T], Path]) -> tuple[dict[str, list[T]], list[T]]:
    """The things of each split, by a name of each, and those that belong to none.

    Things without a split's name are train, unless others have that name: then they belong to none.
    """
    found: dict[str, list[T]] = {}
    for thing in things:
        found.setdefault(split_name(name(thing)), []).append(thing)
    unnamed = found.pop("", [])
    if unnamed and "train" not in found:
        found["train"], unnamed = unnamed, []
    return found, unnamed


def group_files(path: Path, files: Collection[Path]) -> tuple[dict[str, list[Path]], list[Path]]:
    """The files or folders below `path` of each split, and those of none; if it is itself the file, it is train."""
    if path.is_file():
        return ({"train": [path]} if files else {}), []
    return by_split(sorted_paths(files), lambda file: file.relative_to(path))


def unused_remark(path: Path, unnamed: Sequence[object]) -> list[str]:
    """One line about the files, folders or subsets of no split, if there are any."""
    shown = [item.relative_to(path).as_posix() if isinstance(item, Path) else str(item) for item in unnamed]
    why = "once one name says train, only those that say train, val or test are used"
    return [f"{path}: not used: {shortened(shown, 3)} ({why})"] if shown else []


def joined_remark(path: Path, names: Collection[str]) -> list[str]:
    """One line about splits that are converted into one file, if there are several."""
    told = f"{path}: has the splits {', '.join(names)}, which are joined; rtmdet data merge --split writes one alone"
    return [told] if len(names) > 1 else []


def only_file(path: Path, name: str, files: list[Path]) -> Path:
    """The only file of a split; among the official COCO files, the one with boxes (instances_*.json)."""
    chosen = [file for file in files if file.name.startswith("instances")] or files
    if len(chosen) > 1:
        raise InputError(
            f"{path}: expected one annotation file for {name}, found {shortened(chosen, 3)}; give one file"
        )
    return chosen[0]
