"""The one exception that a user's input raises."""

from __future__ import annotations


class InputError(ValueError):
    """A user's input cannot be used.

    The message is one line that names the item, what was expected, what was found and what to do; the
    command line prints it without a traceback and exits with code 2. Unprintable letters in it, as in the name of a
    file, are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in message))
