"""Commands in processes of their own, forked from one that has imported torch: an import takes seconds each time."""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from rtmdet.cli.main import main

FORKS = multiprocessing.get_context("forkserver")  # conftest.py says what it imports


def start_command(
    words: list[str], folder: Path, environment: Mapping[str, str] | None = None, *, spawning: bool = False
) -> BaseProcess:
    """Start a command that writes to `folder`/out and `folder`/err; `spawning`: it spawns processes, as on macOS."""
    process = FORKS.Process(target=_run, args=(words, folder, dict(environment or {}), spawning))
    process.start()
    return process


def _run(words: list[str], folder: Path, environment: dict[str, str], spawning: bool) -> None:
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        with (folder / name).open("w") as file:
            os.dup2(file.fileno(), number)
    if spawning:
        multiprocessing.set_start_method("spawn", force=True)
    sys.exit(main(words))
