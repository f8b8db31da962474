"""How long a run will take, printed after its first steps."""

from __future__ import annotations

from dataclasses import replace

from rtmdet.core.console import write_above_bar
from rtmdet.runs.budget import END, Course, Speed, duration_text, pace
from rtmdet.training.records import Callback, StepRecord

LEAST_STEPS, LEAST_SECONDS = 8, 5.0
FORWARD = 0.4  # time per validation image, relative to a training step's
SAVE = 0.2  # seconds
LONG = 15 * 60  # seconds; for longer runs the estimate suggests fewer epochs


class DurationEstimate(Callback):
    """Prints one line as soon as enough steps were timed."""

    def __init__(self, course: Course, validation_batches: int, choice: float = 0.0, *, fits: bool = True) -> None:
        """`choice`: the cost of choosing the input size for detection, in validations.

        `fits`: whether to mention --minutes.
        """
        self._course = course
        self._choice = choice
        self._batches = validation_batches
        self._fits = fits
        self._durations: list[float] = []
        self._printed = False

    def on_step(self, record: StepRecord) -> None:
        """Record the time of the step."""
        if self._printed:
            return
        self._durations.append(record.seconds)
        if len(self._durations) >= LEAST_STEPS and sum(self._durations) >= LEAST_SECONDS:
            write_above_bar(self.estimate())
            self._printed = True

    def estimate(self) -> str:
        """The estimate as one line, with a shorter alternative for long runs."""
        seconds, epochs = self.seconds(self._course), self._course.epochs
        text = f"the run takes about {duration_text(seconds)} on this machine"
        fewer = epochs // 4
        if seconds >= LONG and fewer:
            short = self.seconds(_shortened(self._course, fewer))
            text += f"; --set train.epochs={fewer} takes {duration_text(short)}"
        return f"{text}; --minutes N limits the time" if self._fits else text

    def seconds(self, course: Course) -> float:
        """The estimated time from the first step to the end of a run."""
        step = pace(self._durations, course.steps)
        start = max(self._durations[0] - step, 0.0)
        validation = self._batches * FORWARD * step
        return course.seconds(Speed(start, step, step, validation, SAVE, END + self._choice * validation))


def _shortened(course: Course, epochs: int) -> Course:
    """The same course with fewer epochs."""
    share = epochs / course.epochs
    return replace(
        course,
        epochs=epochs,
        plain_epochs=round(course.plain_epochs * share),
        validations=max(1, round(course.validations * share)),
    )
