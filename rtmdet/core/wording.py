"""Words in messages: sizes, long lists shortened, names checked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def shortened(names: Iterable[object], most: int = 8) -> str:
    """The first `most` names, separated by commas, and how many more there are."""
    texts = list(map(str, names))
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest


def size_text(size: tuple[int, int]) -> str:
    """(H, W) as "H x W pixels", with the order unless both are the same."""
    height, width = size
    return f"{height} x {width} pixels{'' if height == width else ' (height x width)'}"


def is_one_line(text: str) -> bool:
    """Whether a text has letters, and neither line breaks nor other control characters."""
    return bool(text.strip()) and not any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in text)
