"""The guard that scripts need where loader processes are started by running them again: on Windows and macOS."""

import multiprocessing

from rtmdet.core.errors import InputError


def check_main_guard() -> None:
    """Raise InputError if a process that was just started runs the user's script once more, up to this call."""
    # The mark that multiprocessing itself refuses further processes by; there is no public one.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(
            'this call runs again in every process that loads images: put it below `if __name__ == "__main__":`, '
            "with all that the script does"
        )
