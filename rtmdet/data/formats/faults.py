"""What happens to an entry of a data set that cannot be used: reading stops there, or all such entries are listed.

The readers of all formats wrap each entry in `one_entry`. Training stops at the first fault; `rtmdet data check`
collects them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from rtmdet.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry that is left out."""

    text: str  # the item, what is wrong with it and what to do
    code: str = "broken-label"  # its kind, for programs
    key: str = ""  # the list of a COCO file that has the entry
    identifier: int | None = None  # the entry's id there


_collected: ContextVar[list[Fault] | None] = ContextVar("collected", default=None)


@contextmanager
def collect_faults() -> Iterator[list[Fault]]:
    """While it is entered, faults of entries come into the list, and the readers leave these entries out."""
    found: list[Fault] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextmanager
def one_entry(code: str = "broken-label", key: str = "", identifier: int | None = None) -> Iterator[None]:
    """Reads one entry: an InputError goes on, or where faults are collected, ends the block alone."""
    try:
        yield
    except InputError as error:
        found = _collected.get()
        if found is None:
            raise
        found.append(Fault(str(error), code, key, identifier))


def raise_or_collect(text: str, code: str = "broken-label", key: str = "", identifier: int | None = None) -> None:
    """A fault that is found between entries: raised as InputError, or collected."""
    with one_entry(code, key, identifier):
        raise InputError(text)
