"""Printed lines and progress bars. Bars are on standard error, and only if that is a terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def _speaks() -> bool:
    """Whether this is the main process, as it is while torch is not imported, which takes a second."""
    if "torch" not in sys.modules:
        return True
    from rtmdet.core import distributed

    return distributed.is_main_process()


def say(*lines: str) -> None:
    """Print lines, in the main process only."""
    for line in lines if _speaks() else ():
        print(line, flush=True)


def warn(text: str) -> None:
    """Print a line on standard error, in the main process only."""
    if _speaks():
        print(text, file=sys.stderr, flush=True)


def write_above_bar(text: str) -> None:
    """Print a line above a progress bar, in the main process only."""
    if _speaks():
        tqdm.write(text)


def progress(items: Iterable[Item], text: str) -> Iterator[Item]:
    """Iterate over `items` with a progress bar that is removed at the end."""
    return iter(tqdm(items, desc=text, leave=False, dynamic_ncols=True, disable=None if _speaks() else True))
