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


class LossCourse:
    """The losses of a run of `total` steps, every n-th of a long one; `history` is the log of its earlier part."""

    def __init__(self, total: int, history: Sequence[Row] = ()) -> None:
        self._every = max(1, total // MOST_POINTS)
        rows = [row for row in history if row["kind"] == "train"]
        self._rows = rows[:: max(1, len(rows) // MOST_POINTS)]
        self._ever_matched = any(_later(row, "positives", 1.0) > 0 for row in self._rows)

    @property
    def first_iteration(self) -> int | None:
        """The first known step; None without any."""
        return int(self._rows[0]["iteration"]) if self._rows else None

    @property
    def ever_matched(self) -> bool:
        """Whether a prior was ever matched to an object; True while nothing is known."""
        return self._ever_matched or not self._rows

    def add(self, record: StepRecord) -> None:
        """Add a step."""
        self._ever_matched |= record.positives > 0
        if record.iteration % self._every == 0:
            self._rows.append(asdict(record))

    def trend(self, start: int, now: int, *, window: float) -> Trend:
        """The trend over the steps (start, now] in windows of `window` steps; the newest ends at `now`."""
        window = max(window, 1)
        newest = [row for row in self._rows if now - window < int(row["iteration"]) <= now]
        newest = newest or self._rows[-1:]  # log rows may be farther apart
        before = list(self._medians(start, now - window, window))
        return Trend(
            iteration=now,
            first_loss=before[0] if before else 0.0,
            highest_loss=max(before, default=0.0),
            loss=_median(map(_loss, newest), 0.0),
            box_loss=_median(
                (float(row["loss_box"]) for row in newest if _later(row, "positives", 1.0) > 0), math.inf
            ),
            gradient_norm=_median((_later(row, "gradient_norm", 0.0) for row in newest), 0.0),
            unmatched=fmean(_later(row, "unassigned", 0.0) for row in newest) if newest else 0.0,
            ever_matched=self.ever_matched,
        )

    def _medians(self, start: float, end: float, window: float) -> Iterator[float]:
        """The median loss of each whole window of the steps (start, end]; empty windows are left out."""
        losses: dict[int, list[float]] = {}
        count = int((end - start) / window + 1e-9)
        for row in self._rows:
            iteration = int(row["iteration"])
            if start < iteration <= start + count * window:
                losses.setdefault(int((iteration - start - 1) // window), []).append(_loss(row))
        return (median(losses[index]) for index in sorted(losses))


def _loss(row: Row) -> float:
    return float(row["loss_classification"]) + float(row["loss_box"])


def _later(row: Row, name: str, default: float) -> float:
    """A column that older logs lack."""
    return default if row.get(name) is None else float(row[name])


def _median(values: Iterable[float], default: float) -> float:
    found = list(values)
    return median(found) if found else default
