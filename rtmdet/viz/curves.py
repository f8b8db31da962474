"""The course of a run as one picture: losses, learning rate and AP over iterations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rtmdet.structures import InputError
from rtmdet.training.log import Row, read_log
from rtmdet.training.records import StepRecord, ValidationRecord


class CurvePicture:
    """An observer that draws the curves of a log.jsonl anew after every epoch with a validation."""

    def __init__(self, log: Path, picture: Path) -> None:
        self.log = log
        self.picture = picture
        self._due = False

    def on_step(self, record: StepRecord) -> None:
        """Nothing to draw yet."""

    def on_validation(self, record: ValidationRecord) -> None:
        """Draw at the end of this epoch."""
        self._due = True

    def on_epoch_end(self, epoch: int) -> None:
        """Draw where the epoch was validated."""
        if self._due:
            draw_curves(read_log(self.log), self.picture)
            self._due = False


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG of the rows of a log.jsonl; raises InputError where the file cannot be written."""
    train = [row for row in rows if row["kind"] == "train"]
    val = [row for row in rows if row["kind"] == "val"]
    figure = Figure(figsize=(9, 9), layout="constrained")
    losses, rates, precision = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 2))
    for name, label in (("loss_classification", "classification"), ("loss_box", "box")):
        (line,) = losses.plot(_column(train, "iteration"), _column(train, name), alpha=0.25, linewidth=0.8)
        smooth = _smooth(_column(train, name))
        losses.plot(_column(train, "iteration"), smooth, label=label, color=line.get_color())
    losses.set(ylabel="loss", ylim=(0, None))
    rates.plot(_column(train, "iteration"), _column(train, "learning_rate"), color="black", linewidth=1)
    rates.set(ylabel="learning rate", ylim=(0, None))
    for name in ("AP", "AP50", "AP75"):
        precision.plot(_column(val, "iteration"), _column(val, name), marker="o", markersize=3, label=name)
    precision.set(ylabel="AP on validation images", xlabel="iteration", ylim=(0, 1))
    for axes in (losses, rates, precision):
        axes.grid(alpha=0.3)
    losses.legend()
    precision.legend(loc="lower right")
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise InputError(f"picture {path} cannot be written: {error}") from error


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def _smooth(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Running mean over the last `share` of all rows."""
    window = max(1, int(len(values) * share))
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / np.maximum(ends - starts, 1)
