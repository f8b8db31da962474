"""Training curves of runs in one picture: AP, losses, learning rate and assignment, one color per run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from matplotlib.typing import HashableList

from rtmdet.training.log import RECENT, Row, read_log
from rtmdet.training.records import Callback, ValidationRecord
from rtmdet.viz.figures import label_text, run_continues, style_axes, write_figure

# Safe for color blindness.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#8c564b")
LINE_STYLES = ("-", "--", ":", "-.")
TITLES = {
    "AP": "AP",
    "AP50": "AP50",
    "loss_classification": "classification loss",
    "loss_box": "box loss",
    "learning_rate": "learning rate",
    "positives_per_object": "matched priors per object",
    "unassigned": "objects without a matched prior",
}
VALIDATION = ("AP", "AP50")
NOISY = ("loss_classification", "loss_box", "positives_per_object", "unassigned")  # drawn as running means
BOTTOM = ("learning_rate", *RECENT)
SMOOTHING = 0.03  # window of the running mean, as a share of all rows
TOWER = 5  # times the median; a higher loss would squeeze the rest of the curve


@dataclass(frozen=True, slots=True, eq=False)
class LoggedRun:
    """A run's name, and the rows of its log.jsonl."""

    name: str
    rows: Sequence[Row]

    @property
    def iterations(self) -> int:
        """The last iteration in the log, 0 without rows."""
        return max((int(row["iteration"]) for row in self.rows), default=0)

    @property
    def iterations_per_epoch(self) -> float:
        """Exact once the log holds a whole epoch; before, the iterations so far."""
        return max((float(row["iteration"]) / float(row["epoch"]) for row in self.rows), default=1.0)

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Epochs and values of all rows with this column; undefined values are NaN."""
        kind = "val" if name in VALIDATION else "train"
        rows = [row for row in self.rows if row["kind"] == kind and name in row]
        epochs = np.array([float(row["iteration"]) for row in rows]) / self.iterations_per_epoch
        values = np.array([float(row[name]) for row in rows])
        undefined = ~np.isfinite(values) | (values < 0)  # AP is -1 without objects
        return epochs, np.where(undefined, np.nan, values)

    def best(self) -> tuple[float, float] | None:
        """Epoch and value of the best AP, the first of equal ones; None if no AP is defined."""
        epochs, values = self.column("AP")
        if np.isnan(values).all():
            return None
        index = int(np.nanargmax(values))
        return float(epochs[index]), float(values[index])


class CurvePicture(Callback):
    """A callback that redraws the curves of a log.jsonl after every validated epoch; `due`: and after the first."""

    def __init__(self, log: Path, picture: Path, *, due: bool = False) -> None:
        self.log = log
        self.picture = picture
        self._due = due

    def on_validation(self, record: ValidationRecord) -> None:
        """Draw at the end of this epoch."""
        self._due = True

    def on_epoch_end(self, epoch: int) -> None:
        """Draw if the epoch was validated, or the picture may be older than the log."""
        if self._due:
            with run_continues():
                draw_log(self.log, self.picture)
                self._due = False


def draw_log(log: Path, path: Path) -> None:
    """Write the curves of a run's log.jsonl; raises InputError if the file cannot be written."""
    draw_curves([LoggedRun(log.parent.resolve().name, read_log(log))], path)


def draw_curves(runs: Sequence[LoggedRun], path: Path) -> None:
    """Write a picture of one or more runs; raises InputError if the file cannot be written.

    Quantities that are in no log are left out.
    """
    figure = Figure(figsize=(11, 9.5), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    panels = figure.subplot_mosaic(_layout(runs), height_ratios=(3, 3, 2), sharex=True)
    for number, run in enumerate(runs):
        color, style = line_of(number)
        for name, axes in panels.items():
            _draw_run(axes, run, name, color, style, alone=len(runs) == 1)
    for name, axes in panels.items():
        _finish_panel(axes, name, runs)
    handles, labels = panels["AP"].get_legend_handles_labels()
    columns = 2 if len(runs) > 3 and max(map(len, labels)) < 60 else 1
    figure.legend(handles, labels, loc="outside upper left", frameon=False, fontsize=11, ncols=columns)
    write_figure(figure, path)


def line_of(number: int) -> tuple[str, str]:
    """The color and style of a line, counted from 0: neighbors differ in both, and 32 in one of them."""
    return COLORS[number % len(COLORS)], LINE_STYLES[(number + number // len(COLORS)) % len(LINE_STYLES)]


def _layout(runs: Sequence[LoggedRun]) -> list[HashableList[str]]:
    """Names of the panels on a grid of six columns."""
    bottom = [name for name in BOTTOM if name not in RECENT or any(len(run.column(name)[0]) for run in runs)]
    rows: Iterable[Sequence[str]] = (VALIDATION, NOISY[:2], bottom)
    return [[name for name in row for _ in range(6 // len(row))] for row in rows]


def _draw_run(axes: Axes, run: LoggedRun, name: str, color: str, style: str, *, alone: bool) -> None:
    """One line of a panel; for noisy quantities a running mean over the pale raw values."""
    epochs, values = run.column(name)
    if name in NOISY:
        axes.plot(epochs, values, color=color, alpha=0.25 if alone else 0.1, linewidth=0.7)
        values = _smooth(values)
    marker = "o" if len(epochs) <= (50 if name in VALIDATION else 1) else None  # one row alone makes no line
    axes.plot(epochs, values, style, color=color, linewidth=1.6, marker=marker, markersize=3, label=_label(run))
    best = run.best()
    if name == "AP" and best is not None:
        axes.plot(*best, marker="*", color=color, markersize=12, markeredgecolor="white", zorder=3)


def _label(run: LoggedRun) -> str:
    best, name = run.best(), label_text(run.name)
    return f"{name}: best AP {best[1]:.3f} (epoch {best[0]:.0f})" if best else f"{name}: no AP yet"


def _finish_panel(axes: Axes, name: str, runs: Sequence[LoggedRun]) -> None:
    """Title, grid and range of a panel."""
    title = f"{TITLES[name]}, logarithmic" if _scale(axes, name, runs) else TITLES[name]
    known = any(np.isfinite(run.column(name)[1]).any() for run in runs)
    style_axes(axes, title, nothing="" if known else "nothing yet")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins="auto"))
    axes.tick_params(labelbottom=True)
    if name in BOTTOM:
        axes.set_xlabel(_epoch_label(runs))
    if name == "unassigned":
        axes.yaxis.set_major_formatter(PercentFormatter(1))


def _scale(axes: Axes, name: str, runs: Sequence[LoggedRun]) -> bool:
    """From 0 to the maximum; whether it is logarithmic, as for losses whose first steps are far above the rest."""
    values = np.concatenate([run.column(name)[1] for run in runs])
    positive = values[values > 0]
    if name in NOISY[:2] and len(positive) and positive.max() > TOWER * np.median(positive):
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(float(positive.min()) / 1.1, float(positive.max()) * 1.1)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        return True
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    axes.set_ylim(0, 1.05 * top or None)
    return False


def _epoch_label(runs: Sequence[LoggedRun]) -> str:
    """The axis label, with the length of an epoch if it is the same for all runs."""
    lengths = {run.iterations_per_epoch for run in runs if run.rows}
    return f"epoch of {lengths.pop():.0f} iterations" if len(lengths) == 1 else "epoch"


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over the last rows; ignores NaN, and is NaN if the window holds nothing else."""
    window = max(1, int(len(values) * SMOOTHING))
    good = np.isfinite(values)
    sums = np.cumsum(np.concatenate([[0.0], np.where(good, values, 0)]))
    counts = np.cumsum(np.concatenate([[0], good]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    number = counts[ends] - counts[starts]
    return np.where(number > 0, (sums[ends] - sums[starts]) / np.maximum(number, 1), np.nan)
