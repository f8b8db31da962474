"""Shortens long lists in messages."""

from __future__ import annotations

from collections.abc import Iterable


def shortened(names: Iterable[object], most: int = 8) -> str:
    """The first `most` names, separated by commas, and how many more there are."""
    texts = list(map(str, names))
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest
