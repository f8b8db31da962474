"""The log of a run as files: JSON lines for programs, CSV for spreadsheets."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean
from typing import IO

from rtmdet.core.console import warn
from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import CONTINUE, replace_file, unwritable
from rtmdet.core.wording import shown
from rtmdet.evaluation.coco import NAMES
from rtmdet.training.records import Callback, StepRecord, ValidationRecord

Row = dict[str, str | int | float | bool]
MEANS = (
    "loss_classification", "loss_box", "gradient_norm", "positives", "positives_per_object", "unassigned",
    "seconds", "data_seconds",
)  # fmt: skip
PLACE = ("epoch", "iteration")
REQUIRED = {
    "train": (*PLACE, "learning_rate", "loss_classification", "loss_box"),
    "val": (*PLACE, "AP", "AP50"),
}
RECENT = ("positives_per_object", "unassigned")  # older logs lack them
VALIDATION = (*PLACE, "best", "input_height", "input_width")  # identifies a validation
TABLES = {  # the columns of train.csv and val.csv
    "train": ("kind", *(field.name for field in fields(StepRecord))),
    "val": ("kind", *VALIDATION, *NAMES),
}


class RunLog(Callback):
    """Writes log.jsonl, and its rows as the tables train.csv and val.csv, into a folder.

    A table that cannot be written for a while is completed later; without log.jsonl the run ends. Raises InputError.

    Rows of an earlier part of the run are kept up to `iterations` steps and validations of `epochs` epochs.

    A training row is the mean of the steps since the previous row; its other fields are the last step's. Rows end at
    multiples of `log_every`, so that a resumed run continues with the same rows, and where a run was stopped.

    Undefined metrics are written as -1, as in pycocotools, so that the columns stay numeric; they are shown as "-".
    """

    def __init__(self, folder: Path, *, log_every: int, iterations: int = 0, epochs: int = 0) -> None:
        self.path = folder / "log.jsonl"
        self._folder = folder
        self.readers: list[Callable[[Row], None]] = []  # they receive each training row, too
        self._log_every = log_every
        self._window: list[StepRecord] = []
        self._behind: set[Path] = set()  # tables that lack rows
        done = {"train": ("iteration", iterations), "val": ("epoch", epochs)}
        rows = [(row, *done[str(row["kind"])]) for row in read_log(self.path)]
        self._write([row for row, column, most in rows if int(row[column]) <= most], mode="w")

    def on_step(self, record: StepRecord) -> None:
        """Collect a step; every `log_every` steps write a row."""
        self._window.append(record)
        if record.iteration % self._log_every == 0:
            self.flush()

    def on_validation(self, record: ValidationRecord) -> None:
        """Write the 12 metrics, the AP per class, and the input size at which they were measured."""
        columns = (record.epoch, record.iteration, record.best, *record.input_size)
        numbers = dict(zip((*VALIDATION, *NAMES), (*columns, *record.metrics.numbers), strict=True))
        classes = {f"AP {row.name}": row.ap for row in record.metrics.classes}
        self._write([{"kind": "val", **numbers, **classes}])

    def on_save(self) -> None:
        """Write the rest: an epoch ends here, or a resumed run starts."""
        self.flush()

    def close(self) -> None:
        """Write the rest if the run ended within an epoch."""
        self.flush()
        if self._behind:
            self._write([])

    def flush(self) -> None:
        """Write a row for the steps since the last one, if any."""
        if self._window:
            means = {name: fmean(getattr(step, name) for step in self._window) for name in MEANS}
            row = {"kind": "train", **asdict(self._window[-1]), **means}
            self._write([row])
            self._window.clear()
            for reader in self.readers:
                reader(row)

    def _write(self, rows: Iterable[Row], mode: str = "a") -> None:
        rows = list(rows)
        try:
            with _opened(self.path, mode) as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as error:
            raise unwritable(Path(error.filename or self._folder), error, "log", CONTINUE) from error
        for kind, columns in TABLES.items():
            path = self._folder / f"{kind}.csv"
            try:
                missing, how = (read_log(self.path), "w") if path in self._behind else (rows, mode)
                _write_csv(path, columns, [row for row in missing if row["kind"] == kind], how)
                self._behind.discard(path)
            except OSError as error:  # such as a spreadsheet that has it open, on Windows
                if path not in self._behind:
                    remedy = "the run continues, and completes it once that is possible"
                    warn(str(unwritable(path, error, "table", remedy)))
                self._behind.add(path)


def _write_csv(path: Path, columns: Sequence[str], rows: list[Row], mode: str) -> None:
    with _opened(path, mode) as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        if mode == "w":
            writer.writeheader()
        writer.writerows(rows)


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[IO[str]]:
    """A file to append to, or (mode w) to replace once the new one is complete."""
    target = path.with_name(path.name + ".part") if mode == "w" else path
    with target.open(mode, newline="", encoding="utf-8") as file:
        yield file
    if target != path:
        replace_file(target, path)


def read_log(path: Path, *, strict: bool = False) -> list[Row]:
    """The rows of a log.jsonl; none if the file is missing. Invalid lines, such as truncated ones, are skipped.

    `strict` raises InputError with the line's number instead, except for a truncated last line.
    """
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            remedy = "restore the log or delete the line" if rows else "is this the log.jsonl of a run?"
            row, fault = {}, "" if number == len(lines) else f"not JSON: {remedy}"
        else:
            fault = _fault(row)
        if fault and strict:
            raise InputError(f"{path}, line {number}: {fault}")
        if row and not fault:
            rows.append(row)
    return rows


def _fault(row: object) -> str:
    """What is wrong with a row, and what to do; empty if it is valid."""
    if not isinstance(row, dict):
        return f"expected an object, found {shown(row)}: is this the log.jsonl of a run?"
    kind = row.get("kind")
    if kind not in ("train", "val"):
        return f"kind: expected train or val, found {shown(kind)}: is this the log of a run?"
    for name in (*REQUIRED[kind], *(name for name in RECENT if name in row)):
        value = row.get(name)
        if type(value) not in (int, float) or (isinstance(value, int) and abs(value) > 1e300):
            found = shown(value) if name in row else "nothing"
            return f"{name}: expected a number, found {found}: delete the line"
    for name in PLACE:
        if not (1 <= row[name] < 1e12 and row[name] == int(row[name])):
            return f"{name}: expected a whole number from 1, found {row[name]}: delete the line"
    return ""
