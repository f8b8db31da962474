"""The files of a data set's folder, without what operating systems and notebooks leave in it."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path


def files_below(folder: Path, suffixes: Container[str], *, levels: int | None = None) -> list[Path]:
    """The files in a folder and below, by their suffix in lower case, sorted; `levels` of folders deep (None: all).

    Hidden ones are passed over, as are those of hidden folders (.ipynb_checkpoints) and of __MACOSX, where an
    archive keeps a file "._a.jpg" for each a.jpg.
    """
    pattern = "**/*" if levels is None else "*"
    found = [file for file in folder.glob(pattern) if _is_shown(file.relative_to(folder)) and file.is_file()]
    if levels:
        for below in folder.iterdir():
            if _is_shown(below.relative_to(folder)) and below.is_dir():
                found += files_below(below, suffixes, levels=levels - 1)
    return sorted(file for file in found if file.suffix.lower() in suffixes)


def _is_shown(path: Path) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
