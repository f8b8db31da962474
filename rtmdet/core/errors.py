"""The one exception that a user's input raises."""

from __future__ import annotations

import re


class InputError(ValueError):
    """A user's input cannot be used.

    The message is one line that names the item, what was expected, what was found and what to do; the
    command line prints it without a traceback and exits with code 2. Line breaks in it, as in the name of a file, are
    escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], message))
