"""How messages shorten what is long."""

from __future__ import annotations

from collections.abc import Iterable


def shortened(names: Iterable[object], most: int = 8) -> str:
    """The first `most` names, separated by commas, and the number of the others."""
    texts = list(map(str, names))
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest
