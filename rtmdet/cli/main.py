"""Runs the command that argv names, and turns its errors into one line and an exit code.

`rtmdet COMMAND ...` and the scripts train.py, infer.py and visualize.py all start here.
"""

import argparse
import errno
import io
import logging
import os
import re
import signal
import sys
import threading
import time
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from types import FrameType
from typing import TextIO

from rtmdet.cli.parser import build_parser
from rtmdet.cli.unknown_words import unknown_command, unknown_options
from rtmdet.core.errors import InputError, escaped, is_out_of_memory
from rtmdet.core.processes import handled_signals, hangup, started_processes, started_rank
from rtmdet.core.whole_file import refused
from rtmdet.core.wording import messages_for_commands, one_line

REPEATED = 0.1  # seconds until a signal that was discarded is repeated
PACKAGES = {  # required ones: name in Python -> name for pip
    **{name: name for name in ("albumentations", "hotcoco", "matplotlib", "numpy", "pycocotools")},
    **{name: name for name in ("safetensors", "timm", "torch", "torchvision", "tqdm")},
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "pytorch_grad_cam": "grad-cam",
    "yaml": "pyyaml",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 done with something to look at, 2 unusable input."""
    began = time.monotonic()
    if sys.stderr is None:  # it was closed
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if not words:
        parser.print_help()
        return 0
    try:
        arguments = _parse(parser, words)
    except InputError as error:
        _print_error(error)
        return 2
    arguments.began = began  # what --minutes counts from
    _let_waiting_threads_sleep()  # before torch is imported
    logging.getLogger("matplotlib").addFilter(_is_no_advice)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the terminal may be unable to show a name in a file
    output = None if sys.stdout is None else typing.cast(TextIO, _Output(sys.stdout))  # None: it is closed
    try:
        _check_processes(arguments)
        with messages_for_commands(), _ended_by_signals(), redirect_stdout(output):
            return run_command(arguments)
    except (InputError, MemoryError, RuntimeError, ImportError, BlockingIOError) as error:
        if (line := _for_user(error)) is None:
            raise
        _print_error(line)
        return 2
    except OSError as error:
        # By its reader, as `head` does. Windows has no error of its own for that.
        codes = (errno.EIO, errno.EINVAL) if sys.platform == "win32" else (errno.EIO,)  # EIO: with the terminal
        without_name = error.filename is None and error.errno in codes
        closed = isinstance(error, BrokenPipeError) or (without_name and _is_closed(sys.stdout))
        if not closed:
            _print_error(refused(error))
        if error.filename is None:  # stdout is closed or full: what waits in its buffer would fail once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if closed else 2
    except _Terminated as terminated:
        with suppress(OSError):  # the terminal is closed
            print(f"stopped by {terminated.number.name}", file=sys.stderr)
        return 128 + terminated.number
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The command and its options. Raises InputError for words that are neither."""
    if (unknown := unknown_command(words[0])) is not None:
        raise InputError(unknown)
    arguments, rest = parser.parse_known_args(words)
    if rest:
        raise InputError(unknown_options(rest, arguments))
    return arguments


def run_command(arguments: argparse.Namespace) -> int:
    """Run the command, whose module is imported only here: the imports take seconds."""
    match arguments.command, getattr(arguments, "action", None):
        case "train" | "check", _:
            from rtmdet.cli.train import run
        case "evaluate", _:
            from rtmdet.cli.evaluate import run
        case "compare", _:
            from rtmdet.cli.compare import run
        case "infer", _:
            from rtmdet.cli.infer import run
        case "label", _:
            from rtmdet.cli.label import run
        case "export", _:
            from rtmdet.cli.export import run
        case "benchmark", _:
            from rtmdet.cli.benchmark import run
        case "visualize", _:
            from rtmdet.cli.visualize import run
        case "plot", _:
            from rtmdet.cli.plot import run
        case "info", _:
            from rtmdet.cli.info import run
        case "data", "show":
            from rtmdet.cli.data_show import run
        case "data", "check":
            from rtmdet.cli.data_check import run
        case _:
            from rtmdet.cli.data import run
    return run(arguments)


def _check_processes(arguments: argparse.Namespace) -> None:
    """Raise InputError if torchrun started what one process does; only the first process reports it."""
    if started_processes() == 1 or (arguments.command == "train" and arguments.folds is None):
        return
    if started_rank() > 0 and "TORCHELASTIC_RUN_ID" in os.environ:  # there is a first one beside this
        sys.exit(2)
    what = "--folds" if arguments.command == "train" else arguments.command
    raise InputError(f"{what}: expected one process, found {started_processes()}: start it without torchrun")


def _let_waiting_threads_sleep() -> None:
    """Let torch's threads on the CPU leave the cores to others while they wait for each other, after a moment.

    Waiting awake is several times slower on a busy machine. Sleeping at once is up to 1.4 times slower than after
    1000 turns, about 20 microseconds, on an idle one, where waking up takes longer than most waits.
    """
    if os.environ.setdefault("OMP_WAIT_POLICY", "passive").lower() == "passive":
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Whether a line of matplotlib's is not about its folder, which it has replaced where it could not be written."""
    return not re.search("mkdir -p|MPLCONFIGDIR", record.msg)


class _Output:
    """Standard output where names of files and classes cannot command the terminal: their control characters show."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, of whose control characters only line breaks and tabs stay such."""
        return self._stream.write(escaped(text, keep="\n\r\t"))

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _is_closed(stream: TextIO) -> bool:
    """Whether what waits in a stream can no longer be written."""
    try:
        stream.flush()
    except OSError:
        return True
    return False


class _Terminated(BaseException):
    """Raised on SIGTERM and SIGHUP, so that files are closed and temporary files removed, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


def _terminate(number: int, frame: FrameType | None) -> None:
    if number != signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)  # a closed terminal may send it twice
    raise _Terminated(number)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Raise _Terminated on signals; soon once more where Python discards that, as within `__del__`."""
    usual = sys.unraisablehook

    def repeat(discarded: "sys.UnraisableHookArgs") -> None:
        if not isinstance(discarded.exc_value, _Terminated):
            usual(discarded)
            return
        timer = threading.Timer(REPEATED, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = repeat
    try:
        with handled_signals(_terminate, signal.SIGTERM, *hangup()):
            yield
    finally:
        sys.unraisablehook = usual


def _print_error(error: InputError) -> None:
    with suppress(OSError):  # standard error is full or closed
        sys.stderr.write(f"error: {error}\n")  # at once: the lines of several processes stay apart


def _for_user(error: Exception) -> InputError | None:
    """The line for an error that a user can do something about; None for others, which are faults of ours."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name in PACKAGES:  # as after `pip install --no-deps`
        name = PACKAGES[error.name]
        return InputError(f"this command needs the package {name}, which is missing: pip install {name}")
    if is_out_of_memory(error):  # of ours, or of a library
        remedy = "close other programs, or give smaller batches, inputs or files"
        return InputError(f"not enough memory ({one_line(error)[:200]}): {remedy}")
    if isinstance(error, BlockingIOError) or "start new thread" in str(error):  # of fork, of threading
        remedy = "allow more (ulimit -u), or set OMP_NUM_THREADS=1 and data.workers=0 or --workers 0"
        return InputError(f"the system allows no more threads or processes ({one_line(error)[:200]}): {remedy}")
    return None


if __name__ == "__main__":
    sys.exit(main())
