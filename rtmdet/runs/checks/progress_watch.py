"""Warnings while a run is in progress: what looks wrong, its likely cause and the remedy. Each at most once a run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import CONTINUE, writing
from rtmdet.core.wording import shortened
from rtmdet.runs.checks.likely_causes import (
    NO_BOX_LOSS,
    RunFacts,
    cause_of_flat_loss,
    cause_of_low_ap,
    cause_of_no_box_loss,
    cause_of_no_match,
    causes_of_missing_classes,
)
from rtmdet.runs.checks.loss_trend import LossCourse, Trend
from rtmdet.training.log import Row
from rtmdet.training.records import Callback, StepRecord, ValidationRecord

NEAR_ZERO = 0.01  # AP
USEFUL = 0.1  # AP; from here on a flat loss is not reported
LEAST_STEPS = 200  # of a stage after the warm-up, to judge its loss
LEAST_STEPS_FOR_MATCHES = 50
WINDOWS = 10  # per stage
ZERO_JUDGED_FROM, FALL_JUDGED_FROM = 0.3, 0.7  # share of a stage
LEVEL = 0.98  # of the highest window; at or above it, the loss has not fallen
RISEN = 1.25  # of the highest window; reported even before the first validation


class ProgressWatch(Callback):
    """A callback that reports what is wrong with a run, and appends it to warnings.txt in the run's folder.

    Near-zero AP: below 0.01 at the first validation after a third of the epochs.

    A loss that does not fall: each stage (with mosaic, then without) of 200 steps or more after the warm-up is
    judged separately, at epoch ends from 70 % of the stage on. The median of the newest tenth must be below 98 % of
    the highest earlier tenth (the highest, because from scratch the loss rises first). No warning while AP is at
    least 0.1 and more than half of the best one: fine-tuning may start with a low loss. Before the first validation
    the loss must have risen by a quarter.

    A box loss of 0 although priors are matched, judged likewise from 30 % of a stage on; no matched prior at all in
    the first 50 steps and the first epoch.

    Classes that are never found: validation objects, but an AP of exactly 0, after two thirds of the epochs.

    `history` is the log of a resumed run up to its checkpoint; none: a new run, which removes an old warnings.txt.
    """

    def __init__(
        self, folder: Path, facts: RunFacts, *, report: Callable[[str], None], history: Sequence[Row] = ()
    ) -> None:
        self.path = folder / "warnings.txt"
        self._facts = facts
        self._report = report
        self._course = LossCourse(facts.epochs * facts.steps, history)
        validations = [row for row in history if row["kind"] == "val"]
        self._precisions = [float(row["AP"]) for row in validations]
        self._ap_judged = any(3 * int(row["epoch"]) >= facts.epochs for row in validations)
        self._given = _codes(self.path) if history else set()
        try:
            if not history:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{self.path} cannot be removed: {error}") from error

    def on_new_length(self, epochs: int) -> None:
        """Change the number of epochs."""
        self._facts = replace(self._facts, epochs=epochs)

    def on_step(self, record: StepRecord) -> None:
        """Store the losses."""
        self._course.add(record)

    def on_validation(self, record: ValidationRecord) -> None:
        """Judge the AP and the classes."""
        self._precisions.append(record.metrics.ap)
        if not self._ap_judged and 3 * record.epoch >= self._facts.epochs:
            self._ap_judged = True
            self._judge_ap(record)
        if 3 * record.epoch >= 2 * self._facts.epochs:
            self._judge_classes(record)

    def on_epoch_end(self, epoch: int) -> None:
        """Judge the losses."""
        now = epoch * self._facts.steps
        if not self._course.ever_matched:
            self._judge_matches(epoch, now)
            return
        start, end = self._stage(epoch)
        if end - start < LEAST_STEPS or (now - start) < ZERO_JUDGED_FROM * (end - start):
            return
        trend = self._course.trend(start, now, window=(end - start) / WINDOWS)
        if trend.box_loss < NO_BOX_LOSS:
            text = "the box loss is 0 although objects are matched: no predicted box overlaps one"
            self._warn("no-box-loss", epoch, text, cause_of_no_box_loss(self._facts))
        elif now - start >= FALL_JUDGED_FROM * (end - start) and self._does_not_fall(trend):
            text = f"the loss does not fall: {trend.loss:.3g}, at most {trend.highest_loss:.3g} before"
            self._warn("flat-loss", epoch, text, cause_of_flat_loss(self._facts, trend))

    def _judge_ap(self, record: ValidationRecord) -> None:
        if 0 <= record.metrics.ap < NEAR_ZERO:  # -1: no objects to find
            text = f"AP is {record.metrics.ap:.3f} after {record.epoch} of {self._facts.epochs} epochs"
            start = min(self._facts.warmup, record.iteration // 2)
            trend = self._course.trend(start, record.iteration, window=(record.iteration - start) / WINDOWS)
            self._warn("low-ap", record.epoch, text, cause_of_low_ap(self._facts, trend))

    def _judge_matches(self, epoch: int, now: int) -> None:
        first = self._course.first_iteration
        if first is not None and now - first + 1 >= LEAST_STEPS_FOR_MATCHES:
            trend = self._course.trend(0, now, window=now)
            text = f"no prior was matched to an object in {now} steps"
            self._warn("no-match", epoch, text, cause_of_no_match(self._facts, trend))

    def _judge_classes(self, record: ValidationRecord) -> None:
        missing = [row for row in record.metrics.classes if row.objects > 0 and row.ap == 0]
        if not missing or ("low-ap" in self._given and record.metrics.ap < NEAR_ZERO):
            return
        boxes = self._facts.classes
        counts = [
            f"{row.name} ({boxes[row.name].count} training boxes, {row.objects} validation boxes)" for row in missing
        ]
        text = f"never found after {record.epoch} of {self._facts.epochs} epochs: {shortened(counts)}"
        cause = causes_of_missing_classes(self._facts, [row.name for row in missing])
        self._warn("missing-class", record.epoch, text, cause)

    def _does_not_fall(self, trend: Trend) -> bool:
        if trend.loss < LEVEL * trend.highest_loss:
            return False
        if not self._precisions:
            return trend.loss >= RISEN * trend.highest_loss
        last = self._precisions[-1]
        return 0 <= last < max(USEFUL, max(self._precisions) / 2)

    def _stage(self, epoch: int) -> tuple[int, int]:
        """First (exclusive) and last step of the stage of an epoch, without the warm-up."""
        boundary = self._facts.stage2_start
        first, last = (0, boundary) if epoch <= boundary else (boundary, self._facts.epochs)
        return max(first * self._facts.steps, self._facts.warmup), last * self._facts.steps

    def _warn(self, code: str, epoch: int, text: str, cause: str) -> None:
        if code in self._given:
            return
        self._given.add(code)
        self._report(f"warning: {text}. Likely cause: {cause}")
        with writing(self.path, remedy=CONTINUE), self.path.open("a", encoding="utf-8") as file:
            file.write(f"[{code}] epoch {epoch}: {text}. Likely cause: {cause}\n")


def _codes(path: Path) -> set[str]:
    """The codes of the warnings that an earlier part of the run gave."""
    if not path.is_file():
        return set()
    return {
        line[1:].partition("]")[0]
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line[:1] == "["
    }
