"""Progress bars of the commands: on standard error, so that results can be piped, and only if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sized
from typing import Protocol, TypeVar

from tqdm import tqdm

from rtmdet.core.distributed import is_main_process

Item = TypeVar("Item", covariant=True)


class SizedIterable(Sized, Protocol[Item]):
    """Something with a length to go through."""

    def __iter__(self) -> Iterator[Item]:
        """Go through it."""


def say(text: str) -> None:
    """Print a line; of several processes only the main one speaks."""
    if is_main_process():
        print(text, flush=True)


def warn(text: str) -> None:
    """Print a line on standard error; of several processes only the main one speaks."""
    if is_main_process():
        print(text, file=sys.stderr, flush=True)


def write_above_bar(text: str) -> None:
    """Print a line while a bar is drawn, which moves down; of several processes only the main one speaks."""
    if is_main_process():
        tqdm.write(text)


def track(items: SizedIterable[Item], text: str) -> Iterator[Item]:
    """Go through `items` with a bar that vanishes at the end."""
    return iter(tqdm(items, desc=text, leave=False, dynamic_ncols=True, disable=None if is_main_process() else True))
