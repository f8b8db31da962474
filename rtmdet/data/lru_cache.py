"""A least-recently-used cache for samples and epoch orders."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LruCache(Generic[Value]):
    """Keeps the `capacity` most recently used values. Unlike functools.lru_cache it can be pickled."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[int, Value] = OrderedDict()

    def get(self, key: int, make: Callable[[int], Value]) -> Value:
        """The value of a key, made by `make(key)` if it is not cached."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        value = make(key)
        self._held[key] = value
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)
        return value
