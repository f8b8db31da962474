"""This process, without torch: who started it (torchrun, or a script's own loader), signals, environment, memory."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rtmdet.core.errors import InputError

SignalHandler = Callable[[int, FrameType | None], object] | signal.Handlers


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


@contextmanager
def handled_signals(handler: SignalHandler, *numbers: signal.Signals) -> Iterator[None]:
    """Let `handler` handle these signals until the end of the block, if this is the main thread."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # Python sets handlers only there
        before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            if earlier is not None:  # one that Python did not set
                signal.signal(number, earlier)


def hangup() -> list[signal.Signals]:
    """SIGHUP, which a closed terminal sends, unless it is ignored, as after nohup. Windows has none."""
    number = getattr(signal, "SIGHUP", None)
    return [] if number is None or signal.getsignal(number) is signal.SIG_IGN else [number]


def warning_signal() -> list[signal.Signals]:
    """SIGUSR1, which batch systems can send before they end a job, unless the user handles it. Windows has none."""
    number = getattr(signal, "SIGUSR1", None)
    return [] if number is None or signal.getsignal(number) is not signal.SIG_DFL else [number]


@contextmanager
def environment_variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment until the end of the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def peak_memory() -> int:
    """Bytes of this process at most, so far; 0 where the system does not tell."""
    try:
        import resource  # absent on Windows
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
