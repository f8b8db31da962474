"""Arguments of public functions, compared with their annotations: a wrong type raises InputError."""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, wraps
from inspect import signature
from numbers import Integral, Real
from textwrap import shorten
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, ParamSpec, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints, runtime_checkable

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import refused
from rtmdet.core.wording import messages_for_python, shown

P = ParamSpec("P")
R = TypeVar("R")


@runtime_checkable
class TorchDevice(Protocol):
    """A torch.device, known without torch."""

    @property
    def type(self) -> str:
        """Such as cpu or cuda."""

    @property
    def index(self) -> int | None:
        """Which one of several."""


NUMBERS: dict[type, type] = {int: Integral, float: Real}  # NumPy's belong to these, too
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None",
         os.PathLike: "a path", Mapping: "a dict", TorchDevice: "a torch.device"}  # fmt: skip


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; it raises InputError for arguments that do not fit its annotations.

    A number of NumPy, an array and a tensor become Python's number or list, other iterables a list. All names in the
    annotations, but not that of the result, must be imported when it is called. A file that the system refuses raises
    InputError, too.
    """
    parameters = signature(function)

    @wraps(function)
    def checking(*values: P.args, **named: P.kwargs) -> R:
        try:
            bound = parameters.bind(*values, **named)
        except TypeError:
            bound = None
        if bound is None:
            return function(*values, **named)  # which says what is missing or not known
        for name, kind in _hints(function).items():
            if name in bound.arguments:
                bound.arguments[name] = _fitted(name, bound.arguments[name], kind)
        try:
            with messages_for_python():
                return function(*bound.args, **bound.kwargs)
        except OSError as error:
            raise refused(error) from error

    return checking


def check_fields(record: object) -> None:
    """`checked` for the fields of a dataclass, even a frozen one, in its __post_init__."""
    owner: Callable[..., object] = type(record)
    for name, kind in _hints(owner).items():
        object.__setattr__(record, name, _fitted(name, getattr(record, name), kind))


@cache
def _hints(owner: Callable[..., object]) -> dict[str, Any]:
    """The types of a function's parameters, or of a class's fields, by name."""
    texts = {name: text for name, text in owner.__annotations__.items() if name != "return"}
    return get_type_hints(SimpleNamespace(__annotations__=texts), vars(sys.modules[owner.__module__]))


def _fitted(name: str, value: Any, kind: Any) -> object:
    if Any in (kind, *get_args(kind)):
        return value
    plain = value.tolist() if hasattr(value, "tolist") else value
    ordered = isinstance(plain, Iterable) and not isinstance(plain, Sequence | Mapping | set | frozenset)
    if ordered and _takes_lists(kind):
        plain = list(plain)  # a generator, or the keys of a dict
    if not _fits(plain, kind):
        raise InputError(f"{name}: expected {' or '.join(_words(kind))}, found {shown(value)}")
    return plain


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise InputError unless the value of an argument is one of the `known` ones."""
    if value not in known:
        raise InputError(f"{name} {value!r}: expected one of {', '.join(known)}")


def unusable_device(device: object, error: Exception) -> InputError:
    """The line for a device of torch that cannot be used."""
    reason = shorten(str(error), 100, placeholder=" ...")
    return InputError(f"device {device!r} cannot be used here ({reason}): try cpu")


def _takes_lists(kind: Any) -> bool:
    return get_origin(kind) is Sequence or any(map(_takes_lists, get_args(kind)))


def _fits(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type; a list will do for a tuple."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in inner)
    if origin in NUMBERS:
        return isinstance(value, NUMBERS[origin]) and not isinstance(value, bool)
    if origin in (tuple, Sequence):
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return False
        kinds = inner if origin is tuple else inner * len(value)
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    return isinstance(value, origin)


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
