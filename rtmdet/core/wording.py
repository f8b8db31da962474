"""Words in messages: sizes, long lists and values shortened, errors on one line, names checked."""

import re
import unicodedata
from collections.abc import Iterable

from rtmdet.core.errors import UNPRINTABLE


def shortened(names: Iterable[object], most: int = 8) -> str:
    """The first `most` names, separated by commas, and how many more there are."""
    texts = list(map(str, names))
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest


def size_text(size: tuple[int, int]) -> str:
    """(H, W) as "H x W pixels", with the order unless both are the same."""
    height, width = size
    return f"{height} x {width} pixels{'' if height == width else ' (height x width)'}"


def one_line(error: BaseException | str) -> str:
    """A message, or that of an error, without line breaks; the error's type if it has none."""
    return " ".join(str(error).split()) or ("" if isinstance(error, str) else type(error).__name__)


def shown(value: object) -> str:
    """A value as messages quote it: one line of at most 60 characters."""
    text = re.sub(r"\s*\n\s*", " ", repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_one_line(text: str) -> bool:
    """Whether a text has letters, and neither line breaks nor other control characters."""
    return bool(text.strip()) and not any(unicodedata.category(letter) in UNPRINTABLE for letter in text)
