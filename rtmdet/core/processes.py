"""Who started this process: torchrun, by its environment variables, or a script's own loader; without torch."""

import multiprocessing
import os

from rtmdet.core.errors import InputError


def started_processes() -> int:
    """How many processes torchrun started for this run; 1 without torchrun. Raises InputError."""
    return max(_number("WORLD_SIZE", 1), 1)


def started_rank() -> int:
    """Number of this process among them, from 0. Raises InputError."""
    return _number("RANK", 0) if started_processes() > 1 else 0


def local_rank() -> int:
    """Number of this process on its machine: the index of its GPU. Raises InputError."""
    return _number("LOCAL_RANK", 0)


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "").strip() or str(default)
    if not text.isdecimal():
        raise InputError(f"the environment variable {variable} is {text!r}: expected a number; unset it")
    return int(text)


def check_main_guard() -> None:
    """Raise InputError if a process that was just started runs the user's script once more, up to this call."""
    # The mark that multiprocessing itself refuses further processes by; there is no public one.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(
            'this call runs again in every process that loads images: put it below `if __name__ == "__main__":`, '
            "with all that the script does"
        )
