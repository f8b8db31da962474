"""`rtmdet check`: the start of a run without the run."""

from __future__ import annotations

import argparse

from rtmdet.cli.run_options import read_run_options
from rtmdet.runs.dry_run import dry_run


def run(arguments: argparse.Namespace) -> int:
    """Check what a run would start from; returns 0, or 1 where --overfit did not learn its few boxes."""
    return 0 if dry_run(read_run_options(arguments), overfits=arguments.overfit) else 1
