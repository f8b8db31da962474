"""`rtmdet train`: fine-tune a detector, or train one from scratch."""

from __future__ import annotations

import argparse

from rtmdet.cli.run_options import read_run_options
from rtmdet.core.console import say
from rtmdet.runs.train import carry_out
from rtmdet.training.interruption import Interrupted, StoppedByAnother


def run(arguments: argparse.Namespace) -> int:
    """Train; returns 0, 128 + the number of the signal that stopped the run, or 2 if another process failed."""
    try:
        carry_out(read_run_options(arguments))
    except Interrupted as stopped:
        say("to continue, run the same command with --resume")
        return 128 + stopped.number
    except StoppedByAnother:
        return 2
    return 0
