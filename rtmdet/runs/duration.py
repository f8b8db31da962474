"""How long a run on own data will take, printed after its first steps."""

from __future__ import annotations

from rtmdet.core.console import write_above_bar
from rtmdet.runs.budget import END, Course, Speed, described, pace
from rtmdet.training.records import Callback, StepRecord

LEAST_STEPS, LEAST_SECONDS = 8, 5.0
FORWARD = 0.4  # of the time of a step: an image of the validation, which is not learned from
SAVE = 0.2  # seconds


class DurationEstimate(Callback):
    """An callback that prints one line, when there are steps enough to tell."""

    def __init__(self, course: Course, validation_batches: int, choice: float = 0.0) -> None:
        """`choice`: how many validations more the choice of the input size of detection takes."""
        self._course = course
        self._choice = choice
        self._batches = validation_batches
        self._durations: list[float] = []
        self._printed = False

    def on_step(self, record: StepRecord) -> None:
        """Note the time of the step."""
        if self._printed:
            return
        self._durations.append(record.seconds)
        if len(self._durations) >= LEAST_STEPS and sum(self._durations) >= LEAST_SECONDS:
            write_above_bar(
                f"the run takes about {described(self.seconds())} on this machine; --minutes N fits it to a time"
            )
            self._printed = True

    def seconds(self) -> float:
        """The estimated time from the first step to the end of the run."""
        step = pace(self._durations, self._course.steps)
        start = max(self._durations[0] - step, 0.0)
        validation = self._batches * FORWARD * step
        return self._course.seconds(Speed(start, step, step, validation, SAVE, END + self._choice * validation))
