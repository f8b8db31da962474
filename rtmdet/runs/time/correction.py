"""Corrects the length of a run with --minutes once, halfway, from the speed of the run itself.

Nothing in the schedule depends on the number of epochs until the cosine and stage 2 begin. So the corrected
configuration, which replaces config.yaml, describes the first half exactly as it was run.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from rtmdet.config.schema import Config
from rtmdet.core.console import write_above_bar
from rtmdet.core.distributed import gather, is_main_process
from rtmdet.runs.build import base_learning_rate, build_learning_rates, cosine_start
from rtmdet.runs.folder import stored_text, write_configuration
from rtmdet.runs.time.estimate import Course, Speed, pace
from rtmdet.training.engine import Trainer
from rtmdet.training.records import Callback, StepRecord, ValidationRecord


class Correction(Callback):
    """A callback, the last one of each process, that times the first half of a run and sets the length of the second.

    `speed` was measured before the run; `end` is the value of `clock` at which the run should end.
    """

    def __init__(
        self,
        trainer: Trainer,
        config: Config,
        speed: Speed,
        *,
        end: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trainer = trainer
        self._config = config
        self._before = speed
        self._end = end
        self._clock = clock
        self._last = clock()
        self._durations: list[float] = []  # of the steps
        self._saves: list[float] = []  # ends of epochs without a validation
        self._validations: list[float] = []  # and of those with one
        self._validated = False

    @property
    def epoch(self) -> int | None:
        """The epoch after which the length is corrected; None if the user's schedule does not allow it."""
        train = self._config.train
        half = cosine_start(train)
        return half if 1 <= half < train.epochs and self._config.stage2_start <= half + 1 else None

    def on_step(self, record: StepRecord) -> None:
        """Record the time of the step."""
        self._durations.append(self._passed())

    def on_validation(self, record: ValidationRecord) -> None:
        """Remember that the end of this epoch includes a validation."""
        self._validated = True

    def on_epoch_end(self, epoch: int) -> None:
        """Record the time after the last step; halfway, correct the length."""
        (self._validations if self._validated else self._saves).append(self._passed())
        self._validated = False
        if epoch == self.epoch:
            self._correct(epoch)

    def speed(self) -> Speed:
        """The measured speed of the run so far; parts not run yet are scaled from the measurement before it."""
        before = self._before
        found = pace(self._durations, self._trainer.steps)
        ratio = found / (before.mixed_step if self._config.stage2_start else before.plain_step)
        save = sum(self._saves) / len(self._saves) if self._saves else before.save
        # The latest validation: at first a detector of new classes has more candidates, and takes longer.
        validation = max(self._validations[-1] - 3 * save, 0.0) if self._validations else before.validation * ratio
        return Speed(0.0, before.mixed_step * ratio, before.plain_step * ratio, validation, save, before.end * ratio)

    def _passed(self) -> float:
        now = self._clock()
        passed, self._last = now - self._last, now
        return passed

    def _correct(self, done: int) -> None:
        """Set the number of epochs with which the run ends in time, and write it into config.yaml."""
        config, trainer = self._config, self._trainer
        found = fit_rest(
            self._end - self._clock(),
            self.speed(),
            planned=config.train.epochs - done,
            steps=trainer.steps,
            done=done,
            validate_every=config.train.validate_every,
        )
        epochs = done + gather(found)[0]
        more = epochs - config.train.epochs
        if not more:
            return
        corrected = replace(
            config,
            train=replace(config.train, epochs=epochs, cosine_start=done),
            augmentation=replace(config.augmentation, stage2_epochs=epochs - config.stage2_start),
        )
        with contextlib.redirect_stdout(None):  # the scaled rate was printed at the start
            rate = base_learning_rate(corrected)
        trainer.learning_rates = build_learning_rates(corrected, rate, steps=trainer.steps)
        trainer.plan = replace(trainer.plan, epochs=epochs)
        facts = replace(trainer.meta.facts, config=stored_text(corrected))
        trainer.meta = replace(trainer.meta, facts=facts)
        if is_main_process():
            write_configuration(trainer.folder, corrected)
        for callback in trainer.callbacks:
            callback.on_new_length(epochs)
        write_above_bar(f"halfway: {epochs} epochs instead of {config.train.epochs}, to end in time")
        self._config = corrected


def fit_rest(seconds: float, speed: Speed, *, planned: int, steps: int, done: int, validate_every: int) -> int:
    """How many more plain epochs to run, so that the run ends in `seconds`; `planned` were left, `done` are finished.

    Between half and twice `planned`, so that the parts of the schedule stay in proportion.
    """

    def total(epochs: int) -> float:
        before, after = done // validate_every, -(-(done + epochs) // validate_every)
        return Course(epochs, epochs, steps, after - before).seconds(speed)

    return min(range(max(planned // 2, 1), 2 * planned + 1), key=lambda epochs: abs(total(epochs) - seconds))
