"""What commands share: how one is added, names in an option, files to replace, pictures that were skipped."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rtmdet.core.console import warn
from rtmdet.core.errors import InputError
from rtmdet.core.paths import user_path

if TYPE_CHECKING:  # help needs none
    from rtmdet.stream.frames import Failure


def print_failures(failures: "Sequence[Failure]", *, nothing_done: bool = False) -> None:
    """Print each failure on standard error; with `nothing_done` the last one's error is raised instead."""
    for failure in failures[:-1] if nothing_done else failures:
        warn(str(failure))
    if failures and nothing_done:
        raise failures[-1].error


def has_keys(*keys: str) -> Callable[[object], bool]:
    """Whether the content of a JSON file has these keys, as an earlier result has, which another one may replace."""
    return lambda content: isinstance(content, dict) and content.keys() >= {*keys}


def as_path(text: str) -> Path:
    """The path in an option; ~ is the user's folder."""
    try:
        return user_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class OneLineParser(argparse.ArgumentParser):
    """A parser that raises InputError, of one line, in the place of an exit with the list of all options."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}: `{self.prog} --help` lists its options")


def new_command(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    """A command with its help; the parsed arguments hold its `parser`."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(parser=parser)
    return parser


def split_names(text: str | None) -> list[str] | None:
    """The class names of an option, separated by commas; one with a comma in it is in quotes. None for none."""
    if not text:
        return None
    import csv  # not at the top: help needs none

    try:
        (names,) = csv.reader([text], skipinitialspace=True)
    except (csv.Error, ValueError) as error:
        raise InputError(f"{text!r}: expected class names on one line, separated by commas ({error})") from error
    return [name.strip() for name in names]
