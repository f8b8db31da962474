"""The log of a run as files: JSON lines for programs, CSV for spreadsheets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean

from rtmdet.evaluation import NAMES
from rtmdet.structures import InputError
from rtmdet.training.records import StepRecord, ValidationRecord

Row = dict[str, str | int | float | bool]
MEANS = ("loss_classification", "loss_box", "gradient_norm", "positives", "seconds", "data_seconds")


class RunLog:
    """Writes log.jsonl, train.csv and val.csv into a folder; rows after `keep_until` (iterations) are dropped.

    A training row is the mean of the steps since the row before; its other fields are the last step's.
    """

    def __init__(self, folder: Path, *, log_every: int, keep_until: int = 0) -> None:
        self.path = folder / "log.jsonl"
        self._folder = folder
        self._log_every = log_every
        self._window: list[StepRecord] = []
        rows = [row for row in read_log(self.path) if int(row["iteration"]) <= keep_until]
        self._write(rows, mode="w")

    def on_step(self, record: StepRecord) -> None:
        """Count a step; every `log_every` steps write a row."""
        self._window.append(record)
        if len(self._window) >= self._log_every:
            self._flush()

    def on_validation(self, record: ValidationRecord) -> None:
        """Write the 12 numbers."""
        numbers = dict(zip(NAMES, record.metrics.numbers, strict=True))
        place = {"epoch": record.epoch, "iteration": record.iteration, "best": record.best}
        self._write([{"kind": "val", **place, **numbers}])

    def on_epoch_end(self, epoch: int) -> None:
        """Write what is left of the epoch, so that no row spans two."""
        self._flush()

    def _flush(self) -> None:
        if self._window:
            means = {name: fmean(getattr(step, name) for step in self._window) for name in MEANS}
            self._write([{"kind": "train", **asdict(self._window[-1]), **means}])
            self._window.clear()

    def _write(self, rows: Iterable[Row], mode: str = "a") -> None:
        rows = list(rows)
        try:
            with self.path.open(mode) as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            train = [field.name for field in fields(StepRecord)]
            self._write_csv("train", ["kind", *train], rows, mode)
            self._write_csv("val", ["kind", "epoch", "iteration", "best", *NAMES], rows, mode)
        except OSError as error:
            raise InputError(f"log in {self._folder} cannot be written: {error}") from error

    def _write_csv(self, kind: str, columns: list[str], rows: list[Row], mode: str) -> None:
        path = self._folder / f"{kind}.csv"
        with path.open(mode, newline="") as file:
            writer = csv.DictWriter(file, columns)
            if mode == "w":
                writer.writeheader()
            writer.writerows(row for row in rows if row["kind"] == kind)


def read_log(path: Path) -> list[Row]:
    """The rows of a log.jsonl; none where the file is absent. A last line cut short by a crash is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
