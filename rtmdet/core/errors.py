"""The one exception that a user's input raises."""

import unicodedata

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of control characters, half letters, line breaks
REVERSING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reverse what follows


class InputError(ValueError):
    """A user's input cannot be used.

    The message is one line that names the item, what was expected, what was found and what to do; the
    command line prints it without a traceback and exits with code 2. Control characters in it, as in the name of a
    file, are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(map(_printable, message)))


def _printable(letter: str) -> str:
    unsafe = letter in REVERSING or unicodedata.category(letter) in UNPRINTABLE
    return ascii(letter)[1:-1] if unsafe else letter
