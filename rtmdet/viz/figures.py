"""Writes matplotlib's figures."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import write_whole

DOTS_PER_INCH = 110
SUFFIXES = (".png", ".pdf", ".svg")


def check_suffix(path: Path) -> None:
    """Raise InputError for the name of a picture in another format than SUFFIXES."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")


def label_text(name: str) -> str:
    """A name as a label: to matplotlib $ begins a formula, and what begins with _ is not for the legend."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix, creating the folder. Raises InputError if it cannot be written."""
    check_suffix(path)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.lower().removeprefix("."), dpi=DOTS_PER_INCH)
    write_whole(path, picture.getvalue(), "picture")
