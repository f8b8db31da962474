"""Arguments of public functions, compared with their annotations: a wrong type gets a line that says what is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from rtmdet.core.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
FilePath = str | os.PathLike[str]
SHOWN = 80  # characters of a wrong value in a message
NUMBERS: dict[type, type] = {int: Integral, float: Real}  # NumPy's belong to these, too
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None",
         os.PathLike: "a path", Mapping: "a dict"}  # fmt: skip


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; it raises InputError for arguments that do not fit its annotations.

    All names in these, but not that of the result, must be imported when it is called.
    """
    parameters, hints = signature(function), dict[str, Any]()

    @wraps(function)
    def checking(*values: P.args, **named: P.kwargs) -> R:
        hints.update(hints or _hints(function))
        for name, value in parameters.bind(*values, **named).arguments.items():
            if name in hints:
                _check(name, value, hints[name])
        return function(*values, **named)

    return checking


def check_fields(record: Any) -> None:
    """Raise InputError for fields of a dataclass that do not fit their annotations."""
    hints = get_type_hints(type(record))
    for field in fields(record):
        _check(field.name, getattr(record, field.name), hints[field.name])


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    """The types of the parameters by name."""
    texts = {name: text for name, text in function.__annotations__.items() if name != "return"}
    return get_type_hints(SimpleNamespace(__annotations__=texts), getattr(function, "__globals__", None))


def _check(name: str, value: object, kind: Any) -> None:
    if not _fits(value, kind):
        raise InputError(f"{name}: expected {' or '.join(_words(kind))}, found {_shown(value)}")


def _fits(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type; arrays are lists of numbers."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in inner)
    if origin in NUMBERS:
        return isinstance(value, NUMBERS[origin]) and not isinstance(value, bool)
    if origin in (tuple, Sequence):
        each = _as_list(value)
        kinds = inner if origin is tuple else inner * len(each or ())
        return each is not None and len(each) == len(kinds) and all(map(_fits, each, kinds))
    return isinstance(value, origin)


def _as_list(value: object) -> Sequence[object] | None:
    """The elements of a list, tuple, array or tensor; None for anything else."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def _words(kind: Any) -> list[str]:
    """What a type is called in messages: one text for each option."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return list(dict.fromkeys(word for option in inner for word in _words(option)))
    if origin is tuple:
        return [f"({', '.join(' or '.join(_words(each)) for each in inner)})"]
    if origin is Sequence:
        several = [word.removeprefix("a ") + "s" for word in _words(inner[0])]
        return [f"a list of {' or '.join(several)}"]
    return [WORDS.get(origin, origin.__name__)]


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
