"""Handles unusable entries of a data set: training stops at the first, `rtmdet data check` collects them all.

The readers of all formats wrap each entry in `one_entry`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from rtmdet.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Fault:
    """One unusable entry, which is skipped."""

    text: str  # the item, what is wrong with it and what to do
    code: str = "broken-label"  # its kind, for programs
    key: str = ""  # the list of the COCO file with the entry
    identifier: int | None = None  # the entry's id


_collected: ContextVar[list[Fault] | None] = ContextVar("collected", default=None)


@contextmanager
def collect_faults() -> Iterator[list[Fault]]:
    """Inside the block, faults are added to the list instead of raised, and readers skip these entries."""
    found: list[Fault] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextmanager
def one_entry(code: str = "broken-label", key: str = "", identifier: int | None = None) -> Iterator[None]:
    """Wraps the reading of one entry: an InputError is raised, or collected and the rest of the block skipped."""
    try:
        yield
    except InputError as error:
        found = _collected.get()
        if found is None:
            raise
        found.append(Fault(str(error), code, key, identifier))


def raise_or_collect(text: str, code: str = "broken-label", key: str = "", identifier: int | None = None) -> None:
    """Raise a fault as InputError, or add it to the list while faults are collected."""
    with one_entry(code, key, identifier):
        raise InputError(text)
