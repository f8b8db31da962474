"""`rtmdet train` and `rtmdet check`: train a detector, or only make the checks before the first training step."""

import argparse
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rtmdet.core.console import say
from rtmdet.core.distributed import StoppedByAnother
from rtmdet.core.errors import InputError
from rtmdet.runs.checks.dry_run import dry_run
from rtmdet.runs.options import RunOptions, run_to_resume
from rtmdet.runs.train import run_training
from rtmdet.training.interruption import Interrupted


def run(arguments: argparse.Namespace) -> int:
    """Train; returns 0, 128 + the number of the signal that stopped the run, or 2 if another process failed.

    Check instead of training: returns 0, or 1 if --overfit did not overfit its few boxes.
    """
    check = arguments.command == "check"
    resume, config, data = not check and arguments.resume, arguments.config, arguments.data
    resumed = run_to_resume(resume, config=config, data=data, output=arguments.output)
    if config is None and data is None and resumed is None:
        expected = "--resume RUN, --data FOLDER or" if resume else "--data FOLDER or"
        found = "none" if resume else "neither"
        raise InputError(f"{arguments.command}: expected {expected} --config FILE, found {found}: give one of them")
    options = RunOptions(
        config=config,
        data=data,
        images=arguments.images,
        weights=arguments.weights,
        keep_classes=arguments.keep_classes,
        overrides=tuple(arguments.overrides),
        resume=bool(resume),
        run=resumed,
        minutes=None if check else arguments.minutes,
        folds=None if check else arguments.folds,
        one_image_is_enough=check and arguments.overfit,
        began=arguments.began,
    ).with_shortcuts(epochs=arguments.epochs, output=arguments.output)
    if check:
        return 0 if dry_run(options, overfits=arguments.overfit) else 1
    try:
        with without_lost_connections():
            run_training(options)
    except Interrupted as stopped:
        say("to continue, run the same command with --resume")
        return 128 + stopped.number
    except StoppedByAnother:
        return 2
    return 0


@contextmanager
def without_lost_connections() -> Iterator[None]:
    """Keep multiprocessing's thread that hands memory to loader processes from printing a traceback.

    It would where such a process ends meanwhile, as by a signal to all processes that is to end the run. The loader
    reports a process that it misses.
    """
    usual = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if threading.current_thread() is threading.main_thread() or not isinstance(error, ConnectionError):
            usual(kind, error, trace)

    sys.excepthook = hook
    try:
        yield
    finally:
        sys.excepthook = usual
