"""Words in messages: sizes, long lists and values shortened, errors on one line, names checked."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rtmdet.core.errors import UNPRINTABLE, InputError

OPTION = re.compile(
    r"(?P<command>\b(?:rtmdet|python|pip|torchrun) [^:;,]*)"
    r"|(?<![^\s(])--(?P<name>[a-z][a-z-]*)(?P<value>[ =]N?[\d.]*\b)?"
)
ARGUMENTS = {"set": "settings", "input": "input_size", "batch": "batch_size", "layer": "layers",
             "class-names": "classes", "max-boxes": "max_detections"}  # fmt: skip
LONGEST_LINE = 200  # letters, of the name of a class
SWITCHES = ("resume", "keep-classes", "nms", "half", "int8", "recursive", "decode", "merge-similar")

T = TypeVar("T")

_of_commands = False  # whether this is the command line, in all threads
_for_python = ContextVar("_for_python", default=False)  # whether a function of the public interface is at work
_given_names = ContextVar[Mapping[str, str]]("_given_names")  # of temporary files


@contextmanager
def messages_for_commands() -> Iterator[None]:
    """Let messages name options, whatever they come from."""
    global _of_commands
    before, _of_commands = _of_commands, True
    try:
        yield
    finally:
        _of_commands = before


@contextmanager
def messages_for_python() -> Iterator[None]:
    """Let messages, also that of an InputError, name arguments of Python, except on the command line."""
    with _set(_for_python, True, as_called):
        yield


@contextmanager
def named_as_given(names: Mapping[str, str]) -> Iterator[None]:
    """Let printed lines and an InputError name what the user gave, by the paths of the temporary files made of it."""
    with _set(_given_names, names, as_given):
        yield


@contextmanager
def _set(variable: ContextVar[T], value: T, reword: Callable[[str], str]) -> Iterator[None]:
    """Set what rewords messages until the end of the block, also that of an InputError which ends it."""
    token = variable.set(value)
    try:
        yield
    except InputError as error:
        error.args = (reword(str(error)),)
        raise
    finally:
        variable.reset(token)


def as_given(text: str) -> str:
    """A message that names what the user gave in place of temporary files."""
    for path, given in _given_names.get({}).items():
        text = text.replace(path, given)
    return text


def as_called(text: str) -> str:
    """A message that names options, such as `--minutes 5`; for a user of Python with the arguments, `minutes=5`."""
    return OPTION.sub(_argument, text) if _for_python.get() and not _of_commands else text


def _argument(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"] or ""
    if name is None:  # a whole command
        return found[0]
    if name in SWITCHES:
        return f"{name.replace('-', '_')}=True{value}"
    joint = f"={value[1:]}" if value.strip() else value
    return ARGUMENTS.get(name, name.replace("-", "_")) + joint


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
    """Whether a text has letters, at most LONGEST_LINE, and neither line breaks nor other control characters."""
    return bool(text.strip()) and len(text) <= LONGEST_LINE and not UNPRINTABLE.search(text)
