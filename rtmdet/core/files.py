"""The files of a folder, without those that operating systems and notebooks leave there; and a few of many."""

import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rtmdet.core.paths import comparable

Item = TypeVar("Item")
OF_A_RUN = {"config.yaml", "log.jsonl"}  # in the folder of a training


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, such as files or indices of images, evenly spread over them."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def files_below(folder: Path, suffixes: Container[str], *, levels: int | None = None) -> list[Path]:
    """The sorted files in and below a folder with one of the lowercase `suffixes`, `levels` folders deep (None: all).

    Links to folders are followed, each folder is visited once. Skipped are hidden files and folders, __MACOSX (with
    a file "._a.jpg" for each a.jpg), those of trainings below, and folders that cannot be listed.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        here = Path(root)
        if (real := os.path.realpath(root)) in seen or (here != folder and {*names} >= OF_A_RUN):
            folders.clear()
            continue
        seen.add(real)
        deep = len(here.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if _is_shown(name) and (levels is None or deep < levels))
        found += [here / name for name in names if _is_shown(name) and os.path.splitext(name)[1].lower() in suffixes]
    return sorted_paths(found)


def sorted_paths(paths: Iterable[Path]) -> list[Path]:
    """Sorted paths, in the same order on every system: Windows would compare them without regard to case."""
    return sorted(paths, key=lambda path: path.parts)


def subfolders(folder: Path) -> list[Path]:
    """The sorted folders in a folder, as in `files_below`; none of a file or a folder that cannot be listed."""
    _, names, _ = next(os.walk(folder), ("", [], []))
    shown = (folder / name for name in sorted(names) if _is_shown(name))
    return [folder for folder in shown if not all((folder / name).is_file() for name in OF_A_RUN)]


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def as_on_disk(path: Path, listed: dict[Path, dict[str, list[str]]] | None = None) -> Path:
    """The path on disk that differs only in letter case or Unicode form, if there is one; otherwise the path itself.

    `listed` caches folder listings between calls.
    """
    if path.exists() or path == path.parent:
        return path
    listed = {} if listed is None else listed
    parent = as_on_disk(path.parent, listed)
    if parent not in listed:
        listed[parent] = {}
        for name in os.listdir(parent) if parent.is_dir() else []:
            listed[parent].setdefault(comparable(name), []).append(name)
    alike = listed[parent].get(comparable(path.name), [])
    return parent / alike[0] if len(alike) == 1 else path
