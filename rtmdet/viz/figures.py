"""Writes matplotlib's figures."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import write_whole

DOTS_PER_INCH = 110


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix, creating the folder. Raises InputError if it cannot be written."""
    picture = io.BytesIO()
    try:
        figure.savefig(picture, format=path.suffix.removeprefix("."), dpi=DOTS_PER_INCH)
        write_whole(path, picture.getvalue())
    except (OSError, ValueError) as error:  # ValueError: not an image suffix
        raise InputError(f"picture {path} cannot be written: {error}") from error
