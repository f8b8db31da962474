"""`rtmdet plot`: the courses of one run or of several in one picture."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.training.log import Row
from rtmdet.viz.curves import RECENT, Run, draw_curves

SUFFIXES = (".png", ".pdf", ".svg")
PLACE = ("epoch", "iteration")
REQUIRED = {
    "train": (*PLACE, "learning_rate", "loss_classification", "loss_box"),
    "val": (*PLACE, "AP", "AP50"),
}


def run(arguments: argparse.Namespace) -> int:
    """Draw the picture and print a line a run; returns 0."""
    if arguments.out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {arguments.out}: expected a name that ends in {', '.join(SUFFIXES)}")
    logs = [find_log(path) for path in arguments.runs]
    if len(set(logs)) < len(logs):
        double = next(log for log in logs if logs.count(log) > 1)
        raise InputError(f"{double}: given twice: name each run once")
    runs = [Run(name, read_rows(log)) for name, log in zip(short_names(logs), logs, strict=True)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw_curves(runs, arguments.out)
    width = max(len(run.name) for run in runs)
    for run in runs:
        print(describe(run, width))
    print(arguments.out)
    return 0


def find_log(path: Path) -> Path:
    """The log of a run, given as its folder or as the log itself. Raises InputError where there is none."""
    log = path / "log.jsonl" if path.is_dir() else path
    if not log.is_file():
        raise InputError(f"{log}: no such file: expected the folder of a run, or its log.jsonl")
    return log.resolve()


def short_names(logs: Sequence[Path]) -> list[str]:
    """What tells the runs apart: their folders without the parts that all paths begin and end with."""
    paths = [list((log.parent if log.name == "log.jsonl" else log.with_suffix("")).parts) for log in logs]
    if len(paths) == 1:
        return [paths[0][-1]]
    while len({path[0] for path in paths}) == 1 and min(map(len, paths)) > 1:
        paths = [path[1:] for path in paths]
    while len({path[-1] for path in paths}) == 1 and min(map(len, paths)) > 1:
        paths = [path[:-1] for path in paths]
    return ["/".join(path) for path in paths]


def read_rows(log: Path) -> list[Row]:
    """The rows of a log, checked; a last line that a crash cut short is left out.

    Raises InputError, with the line's number, for a broken row, and for a log without rows.
    """
    lines = log.read_bytes().decode(errors="replace").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line, parse_int=float)  # whole numbers without end would not fit a float later
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise InputError(f"{log}, line {number}: not JSON: restore the log or take the line out") from error
        rows.append(check_row(row, f"{log}, line {number}"))
    if not rows:
        raise InputError(f"{log}: no rows: the run has not come to its first one, due after train.log_every steps")
    return rows


def check_row(row: object, place: str) -> Row:
    """The row, where it has what the picture needs; `place` names it in errors."""
    if not isinstance(row, dict):
        raise InputError(f"{place}: expected an object, found {_short(row)}: is this the log.jsonl of a run?")
    kind = row.get("kind")
    if kind not in ("train", "val"):
        raise InputError(f"{place}: kind: expected train or val, found {_short(kind)}: is this the log of a run?")
    for name in (*REQUIRED[kind], *(name for name in RECENT if name in row)):
        value = row.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            found = _short(value) if name in row else "nothing"
            raise InputError(f"{place}: {name}: expected a number, found {found}: take the line out")
    for name in PLACE:
        if not (1 <= row[name] < 1e12 and row[name] == int(row[name])):
            raise InputError(f"{place}: {name}: expected a whole number from 1, found {row[name]}: take the line out")
    return row


def describe(run: Run, width: int) -> str:
    """One line: how far the run has come, and its best and last AP."""
    epochs = max(int(row["epoch"]) for row in run.rows)
    line = f"{run.name:<{width}}  epochs {epochs:4d}  iterations {run.iterations:7d}"
    best, values = run.best(), run.column("AP")[1]
    if best is None:
        return f"{line}  no AP yet"
    last = values[-1]
    return f"{line}  best AP {best[1]:.3f} (epoch {best[0]:.0f})  last AP {'-' if np.isnan(last) else f'{last:.3f}'}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
