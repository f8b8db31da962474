"""The one exception that a user's input raises, and what must not be taken for a fault of it."""

import re

# Control characters, line breaks, half letters, and marks that reverse what follows them.
UNPRINTABLE = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
MOST_LETTERS = 4000  # of a message
# As torch, OpenCV, ONNX Runtime, OpenVINO and the system say it.
_NO_MEMORY = re.compile(
    r"out of memory|insufficient memory|allocate memory|to allocate|bad_alloc|bad allocation|failed to map segment",
    re.IGNORECASE,
)


class InputError(ValueError):
    """A user's input cannot be used.

    The message is one line that names the item, what was expected, what was found and what to do; the
    command line prints it without a traceback and exits with code 2. Control characters in it, as in the name of a
    file, are escaped, and very long ones lose their middle.
    """

    def __init__(self, message: str) -> None:
        half = MOST_LETTERS // 2
        short = message if len(message) <= MOST_LETTERS else f"{message[:half]} ... {message[-half:]}"
        super().__init__(escaped(short))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of a library or the system says that there is not enough memory."""
    said = not isinstance(error, InputError) and _NO_MEMORY.search(str(error)) is not None
    return said or isinstance(error, MemoryError)


def blame_memory(error: BaseException) -> None:
    """Raise MemoryError if the error, met while a file was read, says so: the file is not to blame."""
    if is_out_of_memory(error):
        raise MemoryError(str(error)) from error


def escaped(text: str, keep: str = "") -> str:
    """A text in which unprintable characters are written out, except those to `keep`."""
    return UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)
