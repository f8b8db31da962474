"""A small memory of what was made last, so that windows over the sampler's order are not made twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LruCache(Generic[Value]):
    """Holds the last values; forgets what was not asked for the longest time.

    Unlike functools.lru_cache it can be sent to loader processes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[int, Value] = OrderedDict()

    def get(self, key: int, make: Callable[[int], Value]) -> Value:
        """The value of a key, made by `make(key)` where it is not held."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        value = make(key)
        self._held[key] = value
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)
        return value
