"""`rtmdet check`: the checks before the first training step, without the training."""

from __future__ import annotations

import argparse

from rtmdet.cli.run_options import read_run_options
from rtmdet.runs.dry_run import dry_run


def run(arguments: argparse.Namespace) -> int:
    """Run the checks; returns 0, or 1 if --overfit did not overfit its few boxes."""
    return 0 if dry_run(read_run_options(arguments), overfits=arguments.overfit) else 1
