"""What happens to an entry of a label file that cannot be used: reading stops there, or all such entries are listed.

The readers wrap each entry in `one_entry`. Training takes the first fault; `rtmdet data check` collects them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rtmdet.core.errors import InputError

_collected: ContextVar[list[InputError] | None] = ContextVar("collected", default=None)


@contextmanager
def collect_faults() -> Iterator[list[InputError]]:
    """While it is entered, faults of entries come into the list, and the readers leave these entries out."""
    found: list[InputError] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextmanager
def one_entry() -> Iterator[None]:
    """Reads one entry: an InputError goes on, or where faults are collected, ends the block alone."""
    try:
        yield
    except InputError as error:
        found = _collected.get()
        if found is None:
            raise
        found.append(error)
