"""`rtmdet train --data --minutes N`: the configuration whose run ends in the time asked for.

The run is configured as always, its parts are timed (timing.py), and it is configured again with the epochs that fit.
What ran for the timing is thrown away: the run is the one that its config.yaml starts without --minutes.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch

from rtmdet.config.file import differences, dump_config
from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.distributed import gather, is_main_process
from rtmdet.core.errors import InputError
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.runs.budget import (
    MOST_PASSES,
    Course,
    Speed,
    course_of,
    described,
    fit_epochs,
    share_that_fits,
    smaller_input,
)
from rtmdet.runs.build_trainer import build_trainer
from rtmdet.runs.folder import load_run
from rtmdet.runs.halfway import Correction
from rtmdet.runs.options import RunOptions
from rtmdet.runs.own_data import check_may_go_on, holds_run
from rtmdet.runs.timing import measure_speed
from rtmdet.training.engine import Trainer
from rtmdet.training.interruption import StoppedByAnother

LONGEST = 60 * 24 * 365  # minutes
MEASURED_SHARE, LEAST_MEASURED, MOST_MEASURED = 0.05, 3.0, 30.0  # of the time asked for; seconds
MARGIN = 1.1  # on a time that is proposed
COARSE = 0.1  # of the time: longer epochs make the end inexact
SAME_IN_FOLDS = (  # settings that follow from the time
    "data.input_size",
    "train.epochs",
    "train.warmup_iterations",
    "train.cosine_start",
    "train.validate_every",
    "train.ema_momentum",
    "train.ema_gamma",
    "augmentation.stage2_epochs",
)

Configure = Callable[[Sequence[str]], Config]  # settings as of --set, beside the user's -> the whole configuration


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The time that a command has, from its start on."""

    minutes: float
    began: float  # time.monotonic() at the start of the command

    def left(self) -> float:
        """Seconds until the end, the main process's on all."""
        return gather(self.began + 60 * self.minutes - time.monotonic())[0]


def time_limit(options: RunOptions) -> TimeLimit | None:
    """What --minutes asks for; None without it, and for a run that is resumed. Raises InputError."""
    minutes = options.minutes
    if minutes is None:
        return None
    if options.data is None:
        raise InputError("--minutes goes with --data: with --config set the length, --set train.epochs=...")
    if not 0 < minutes <= LONGEST:  # NaN is neither
        raise InputError(f"--minutes is {minutes:g}: expected a number of minutes above 0 and at most {LONGEST}")
    if "train.epochs" in options.given:
        raise InputError("--minutes and --set train.epochs both give the length of the run: leave one of them out")
    if options.folds is None and holds_run(folder := options.folder):
        check_may_go_on(options, folder)
        say(f"--minutes is not used: the resumed run keeps the epochs of {folder / 'config.yaml'}")
        return None
    return TimeLimit(minutes, options.began)


@dataclass(frozen=True, slots=True)
class TimedRun:
    """The first, or only, of `runs` runs that have a time together."""

    limit: TimeLimit
    configure: Configure
    given: frozenset[str]  # the keys that the user sets
    runs: int = 1

    def fit(
        self, config: Config, trainer: Trainer, data: tuple[CocoDataset, CocoDataset], *, ready: float, build: float
    ) -> tuple[Config, Trainer, Correction]:
        """The configuration that ends in time, its trainer, and the callback that corrects its length at half.

        `trainer`, which `config` describes, is used up. `ready` and `build` are the seconds that the preparation of
        a run took, and in it that of the trainer. Raises InputError where no epoch fits.
        """
        default, course = config, course_of(config, trainer.steps)
        speed = self._measure(config, trainer, data[1], build)
        passes = share_that_fits(self._seconds(speed, ready), speed, course)
        size = smaller_input(config.data.input_size, passes)
        if size != config.data.input_size and "data.input_size" not in self.given:
            say(f"  the time is enough for {passes:.0%} of the default epochs: a smaller input allows more")
            config = self._configured([f"data.input_size={list(size)}"])
            trainer = rebuild(config, data, trainer.stepper.device)
            speed = self._measure(config, trainer, data[1], build)
        seconds = self._seconds(speed, ready)
        fit = fit_epochs(seconds, speed, course, validate_every=self._given_validation(config))
        if not fit.epochs:
            one = replace(course, epochs=1, plain_epochs=0, validations=1).seconds(speed)
            self._refuse(self._passed() + self.runs * (one + 60 * self.limit.minutes - self._passed() - seconds))
        settings = [f"train.epochs={fit.epochs}", f"train.validate_every={fit.validate_every}"]
        config = self._configured([*settings, f"data.input_size={list(config.data.input_size)}"])
        report(default, config, seconds, speed, course)
        end = time.monotonic() + seconds
        trainer = rebuild(config, data, trainer.stepper.device)
        return config, trainer, Correction(trainer, config, speed, end=end)

    def _measure(self, config: Config, trainer: Trainer, val_data: CocoDataset, build: float) -> Speed:
        """Time the parts of a run, and print what they take."""
        if self.limit.left() <= 0:
            self._refuse(2 * self._passed())
        seconds = min(max(MEASURED_SHARE * 60 * self.limit.minutes, LEAST_MEASURED), MOST_MEASURED)
        speed = measure_speed(config, trainer, val_data, seconds=seconds, build_seconds=build)
        height, width = config.data.input_size
        say(
            f"timed at {height} x {width} pixels: {speed.mixed_step:.2f} s a step with mosaic and mixup, "
            f"{speed.plain_step:.2f} s without, {speed.validation:.1f} s a validation, {speed.save:.2f} s a save"
        )
        return speed

    def _seconds(self, speed: Speed, ready: float) -> float:
        """What is left for this run from now on; each of several is prepared and measured on its own."""
        others = (self.runs - 1) * ready
        measured = speed.validation if self.runs > 1 else 0.0
        return (self.limit.left() - others) / self.runs - measured

    def _passed(self) -> float:
        return 60 * self.limit.minutes - self.limit.left()

    def _given_validation(self, config: Config) -> int | None:
        return config.train.validate_every if "train.validate_every" in self.given else None

    def _configured(self, settings: Sequence[str]) -> Config:
        """The configuration with these settings where the user gives none, without a word."""
        with contextlib.redirect_stdout(None):
            wanted = [setting for setting in settings if setting.partition("=")[0] not in self.given]
            return gather(self.configure(wanted))[0]

    def _refuse(self, needed: float) -> NoReturn:
        if not is_main_process():
            raise StoppedByAnother
        minutes = math.ceil(needed * MARGIN / 6) / 10
        raise InputError(
            f"--minutes {self.limit.minutes:g}: expected time for at least one epoch, found that it needs about "
            f"{described(needed)} here: give --minutes {minutes:g} or more"
        )


def rebuild(config: Config, data: tuple[CocoDataset, CocoDataset], device: torch.device) -> Trainer:
    """The trainer of a configuration from the same random state as at the beginning, without a word."""
    torch.manual_seed(config.train.seed)
    with contextlib.redirect_stdout(None):
        return build_trainer(config, *data, device)


def report(default: Config, config: Config, seconds: float, speed: Speed, course: Course) -> None:
    """Print what was chosen, and how it differs from the default plan."""
    before, epochs = default.train.epochs, config.train.epochs
    takes = course_of(config, course.steps).seconds(speed)
    say(
        f"--minutes: {epochs} epochs instead of the {before} of the default plan, which would take "
        f"{described(course.seconds(speed))} from here at this input size; these take {described(takes)}"
    )
    for difference in differences(dump_config(default), dump_config(config)):
        say(f"  {difference}")
    one = (takes - speed.start) / epochs
    if epochs == MOST_PASSES * before:
        say(f"  the run ends early: more than {MOST_PASSES} times the default epochs seldom raise AP")
    elif one > COARSE * seconds:
        say(f"  an epoch takes {described(one)}, and only whole ones are made: the end is that inexact")


def settings_of_first_fold(folder: Path) -> list[str]:
    """What the time determined in the first of several runs, for the others."""
    settings = load_run(folder)
    found = []
    for key in SAME_IN_FOLDS:
        section, name = key.split(".")
        found.append(f"{key}={json.dumps(getattr(getattr(settings, section), name))}")
    return found
