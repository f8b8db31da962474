"""The loss history of a run: a sample of its steps, and medians over windows of steps."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median

from rtmdet.training.log import Row
from rtmdet.training.records import StepRecord

MOST_POINTS = 4000  # kept per run


@dataclass(frozen=True, slots=True)
class Trend:
    """The losses over a range of steps. Losses and norms are medians over windows."""

    iteration: int  # the last step
    first_loss: float  # of the first window; 0 if the newest is the only one
    highest_loss: float  # of the windows before the newest
    loss: float  # of the newest window, like all below
    box_loss: float  # of the steps with matched priors; infinite if there are none
    gradient_norm: float  # before clipping
    unmatched: float  # mean share of the objects without a matched prior
    ever_matched: bool  # whether any step of the run had a matched prior


@dataclass(frozen=True, slots=True)
class _Point:
    """One step, or a log row with the means of several."""

    iteration: int
    loss: float
    box_loss: float
    gradient_norm: float
    positives: float
    unmatched: float


class LossCourse:
    """The losses of a run of `total` steps, every n-th of a long one; `history` is the log of its earlier part."""

    def __init__(self, total: int, history: Sequence[Row] = ()) -> None:
        self._every = max(1, total // MOST_POINTS)
        rows = [row for row in history if row["kind"] == "train"]
        thinned = rows[:: max(1, len(rows) // MOST_POINTS)]
        self._points = [_point(row) for row in thinned]
        self._ever_matched = any(point.positives > 0 for point in self._points)

    @property
    def first_iteration(self) -> int | None:
        """The first known step; None without any."""
        return self._points[0].iteration if self._points else None

    @property
    def ever_matched(self) -> bool:
        """Whether a prior was ever matched to an object; True while nothing is known."""
        return self._ever_matched or not self._points

    def add(self, record: StepRecord) -> None:
        """Add a step."""
        self._ever_matched |= record.positives > 0
        if record.iteration % self._every == 0:
            self._points.append(_point(asdict(record)))

    def trend(self, start: int, now: int, *, window: float) -> Trend:
        """The trend over the steps (start, now] in windows of `window` steps; the newest ends at `now`."""
        window = max(window, 1)
        newest = [point for point in self._points if now - window < point.iteration <= now]
        newest = newest or self._points[-1:]  # log rows may be farther apart
        before = list(self._medians(start, now - window, window))
        return Trend(
            iteration=now,
            first_loss=before[0] if before else 0.0,
            highest_loss=max(before, default=0.0),
            loss=_median((point.loss for point in newest), 0.0),
            box_loss=_median((point.box_loss for point in newest if point.positives > 0), math.inf),
            gradient_norm=_median((point.gradient_norm for point in newest), 0.0),
            unmatched=fmean(point.unmatched for point in newest) if newest else 0.0,
            ever_matched=self.ever_matched,
        )

    def _medians(self, start: float, end: float, window: float) -> Iterator[float]:
        """The median loss of each whole window of the steps (start, end]; empty windows are left out."""
        losses: dict[int, list[float]] = {}
        count = int((end - start) / window + 1e-9)
        for point in self._points:
            if start < point.iteration <= start + count * window:
                losses.setdefault(int((point.iteration - start - 1) // window), []).append(point.loss)
        return (median(losses[place]) for place in sorted(losses))


_LATER_COLUMNS = (("gradient_norm", 0.0), ("positives", 1.0), ("unassigned", 0.0))  # which older logs lack


def _point(row: Row) -> _Point:
    """A step or a row of the log."""
    box = float(row["loss_box"])
    return _Point(
        int(row["iteration"]),
        float(row["loss_classification"]) + box,
        box,
        *(default if row.get(name) is None else float(row[name]) for name, default in _LATER_COLUMNS),
    )


def _median(values: Iterable[float], default: float) -> float:
    found = list(values)
    return median(found) if found else default
