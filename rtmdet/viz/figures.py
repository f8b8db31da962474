"""What matplotlib's figures share: their style, and how they are written."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from matplotlib import font_manager, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from rtmdet.core.console import warn
from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import write_whole

DOTS_PER_INCH = 110
# Fonts of Linux, Windows and macOS with letters that matplotlib's own lacks; those that are installed are used.
OTHER_LETTERS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "Malgun Gothic", "PingFang SC", "Hiragino Sans",
    "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS", "Nirmala UI", "Leelawadee UI",
)  # fmt: skip
SUFFIXES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")


def check_suffix(path: Path) -> None:
    """Raise InputError for the name of a picture in another format than SUFFIXES."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")


def label_text(name: str) -> str:
    """A name as a label: to matplotlib $ begins a formula, and what begins with _ is not for the legend."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def style_axes(axes: Axes, title: str, nothing: str = "") -> None:
    """Title, grid and only two borders; `nothing` says why there are no curves."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.text(0.5, 0.5, nothing, transform=axes.transAxes, ha="center", color="0.5")


@cache
def _font_families() -> list[str]:
    """The usual fonts, and those of OTHER_LETTERS that are installed."""
    installed = {*font_manager.get_font_names()}
    return [*rcParams["font.family"], *(name for name in OTHER_LETTERS if name in installed)]


@contextmanager
def run_continues() -> Iterator[None]:
    """Print which picture of a run cannot be written, instead of ending the run for it."""
    try:
        yield
    except InputError as error:
        warn(f"{error}; the run continues")


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix, creating the folder. Raises InputError if it cannot be written."""
    check_suffix(path)
    picture = io.BytesIO()
    for text in figure.findobj(Text):
        text.set_fontfamily(_font_families())
    with warnings.catch_warnings():
        # They are drawn as squares.
        warnings.filterwarnings("ignore", "Glyph .* missing|Matplotlib currently does not support", UserWarning)
        figure.savefig(picture, format=path.suffix.lower().removeprefix("."), dpi=DOTS_PER_INCH)
    write_whole(path, picture.getvalue(), "picture")
