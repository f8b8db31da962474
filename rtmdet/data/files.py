"""The files of a data set's folder, without what operating systems and notebooks leave in it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Container
from pathlib import Path


def files_below(folder: Path, suffixes: Container[str], *, levels: int | None = None) -> list[Path]:
    """The files in a folder and below, by their suffix in lower case, sorted; `levels` of folders deep (None: all).

    Links to folders are followed, each folder is entered once. Hidden files and folders (.ipynb_checkpoints) are
    passed over, as are __MACOSX, where an archive keeps a file "._a.jpg" for each a.jpg, and what cannot be listed.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        place = Path(root)
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        deep = len(place.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if _is_shown(name) and (levels is None or deep < levels))
        found += [place / name for name in names if _is_shown(name) and os.path.splitext(name)[1].lower() in suffixes]
    return sorted(found)


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def comparable(name: str) -> str:
    """A file name as it is compared where case or Unicode form (NFC, NFD) may differ, as between systems."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def as_on_disk(path: Path, listed: dict[Path, dict[str, list[str]]] | None = None) -> Path:
    """A path as it is written on disk, where it differs in letter case or Unicode form only; otherwise itself.

    `listed` keeps the names in the folders that were looked into, for further calls.
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
