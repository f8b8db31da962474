"""What an annotated type says about a setting: limits of its values, and functions that read other spellings."""

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple, get_args, get_type_hints

from rtmdet.core.errors import InputError


class Limit(NamedTuple):
    """What a value must fulfill, and the words for it in a message."""

    holds: Callable[[Any], bool]
    expected: str


class RangeError(InputError):
    """A value out of range; the message begins with the dotted key of the setting."""

    @property
    def key(self) -> str:
        """The dotted key."""
        return str(self).split()[0].rstrip(":")


def require(condition: bool, message: str) -> None:
    """Raise RangeError unless the condition holds; `message` begins with the dotted key of a setting."""
    if not condition:
        raise RangeError(message)


def check_limits(settings: object, section: str) -> None:
    """Raise RangeError for the first value of a section that is beyond the limits of its type; None has no limits."""
    for name, kind in kinds(type(settings)).items():
        value = getattr(settings, name)
        for limit in _limits(kind) if value is not None else ():
            shown = list(value) if isinstance(value, tuple) else value
            require(limit.holds(value), f"{section}.{name} is {shown!r}: expected {limit.expected}")


def kinds(section: type) -> dict[str, Any]:
    """The annotated types of a section's settings, by name."""
    return get_type_hints(section, include_extras=True)


def _limits(kind: Any) -> list[Limit]:
    """The limits of a type, also within `... | None`."""
    extras = [extra for part in (kind, *get_args(kind)) for extra in getattr(part, "__metadata__", ())]
    return [extra for extra in extras if isinstance(extra, Limit)]


def read_square(text: str) -> tuple[int, int] | None:
    """`640` for both sides; None for anything else."""
    return (int(text), int(text)) if re.fullmatch(r"\d{1,9}", text.strip()) else None


def read_path(text: str) -> str | None:
    """`~/runs`, below the home folder; None for anything else."""
    return os.path.expanduser(text) if text.startswith("~") else None
