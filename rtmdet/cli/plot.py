"""`rtmdet plot`: the curves of one or more runs in one picture."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.training.log import read_log
from rtmdet.viz.curves import LoggedRun, draw_curves
from rtmdet.viz.figures import check_suffix


def run(arguments: argparse.Namespace) -> int:
    """Draw the picture and print one line per run; returns 0."""
    check_suffix(arguments.out)
    logs = [find_log(path) for path in arguments.runs]
    if len(set(logs)) < len(logs):
        double = next(log for log in logs if logs.count(log) > 1)
        raise InputError(f"{double}: given twice: name each run once")
    runs = [LoggedRun(name, read_log(log, strict=True)) for name, log in zip(short_names(logs), logs, strict=True)]
    if empty := next((log for log, one in zip(logs, runs, strict=True) if not one.rows), None):
        raise InputError(f"{empty}: no rows yet: the first one is written after train.log_every steps")
    draw_curves(runs, arguments.out)
    width = max(len(run.name) for run in runs)
    for run in runs:
        print(progress_line(run, width))
    print(arguments.out)
    return 0


def find_log(path: Path) -> Path:
    """The log of a run, given as its folder or as the log itself. Raises InputError if there is none."""
    log = path / "log.jsonl" if path.is_dir() else path
    if not log.is_file():
        raise InputError(f"{log}: no such file: expected the folder of a run, or its log.jsonl")
    return log.resolve()


def short_names(logs: Sequence[Path]) -> list[str]:
    """Short distinct names of the runs: their folders without the parts that all paths have in common."""
    paths = [list((log.parent if log.name == "log.jsonl" else log.with_suffix("")).parts) for log in logs]
    if len(paths) == 1:
        return [paths[0][-1]]
    while len({path[0] for path in paths}) == 1 and min(map(len, paths)) > 1:
        paths = [path[1:] for path in paths]
    while len({path[-1] for path in paths}) == 1 and min(map(len, paths)) > 1:
        paths = [path[:-1] for path in paths]
    return ["/".join(path) for path in paths]


def progress_line(run: LoggedRun, width: int) -> str:
    """One line: epochs and iterations so far, best and last AP."""
    epochs = max(int(row["epoch"]) for row in run.rows)
    line = f"{run.name:<{width}}  epochs {epochs:4d}  iterations {run.iterations:7d}"
    best, values = run.best(), run.column("AP")[1]
    if best is None:
        return f"{line}  no AP yet"
    last = values[-1]
    return f"{line}  best AP {best[1]:.3f} (epoch {best[0]:.0f})  last AP {'-' if np.isnan(last) else f'{last:.3f}'}"
