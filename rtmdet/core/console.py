"""Printed lines and progress bars. Bars are on standard error, and only if that is a terminal or a notebook."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import TextIO, TypeVar

from tqdm import tqdm

from rtmdet.core.wording import as_called, as_given

Item = TypeVar("Item")


def _speaks() -> bool:
    """Whether this is the main process, as it is while torch is not imported, which takes a second."""
    if "torch" not in sys.modules:
        return True
    from rtmdet.core import distributed

    return distributed.is_main_process()


def _shown(text: str, stream: TextIO) -> str:
    """A message as a stream can show it: consoles and pipes of Windows lack the letters of most languages."""
    text = as_called(as_given(text))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def say(*lines: str) -> None:
    """Print lines, in the main process only."""
    for line in lines if _speaks() else ():
        print(_shown(line, sys.stdout), flush=True)


def warn(text: str) -> None:
    """Print a line on standard error, in the main process only."""
    if _speaks():
        with suppress(OSError):  # standard error is full or closed
            print(_shown(text, sys.stderr), file=sys.stderr, flush=True)


def write_above_bar(text: str, *, everywhere: bool = False) -> None:
    """Print a line above a progress bar, in the main process only, or in the one that calls."""
    if everywhere or _speaks():
        tqdm.write(_shown(text, sys.stdout))


@cache
def warn_once(text: str) -> None:
    """`write_above_bar`, unless the line was printed before."""
    write_above_bar(text)


def bars_hidden() -> bool:
    """Whether progress bars would not be seen as such: standard error is neither a terminal nor a notebook's."""
    is_terminal = getattr(sys.stderr, "isatty", None)  # a stream of the user's own may lack it
    return not (_in_notebook() or (is_terminal is not None and is_terminal()))


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def progress(items: Iterable[Item], text: str) -> Iterator[Item]:
    """Iterate over `items` with a progress bar that is removed at the end."""
    position = 0 if _in_notebook() else None  # notebooks show one line: a second bar takes it for a while
    hidden = bars_hidden() or not _speaks()
    return iter(tqdm(items, desc=text, leave=False, dynamic_ncols=True, position=position, disable=hidden))
