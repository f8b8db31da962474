"""`rtmdet train --data --minutes N`: fits a run to a time.

The run is configured as always, its parts are timed (timing.py), and it is configured again with the epochs
that fit. The timed steps are thrown away: the run equals the one that its config.yaml starts without --minutes.
"""

import contextlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

import torch

from rtmdet.config.file import differences, dump_config
from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.distributed import StoppedByAnother, from_main, gather, is_main_process
from rtmdet.core.errors import InputError
from rtmdet.core.wording import size_text
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.runs.build import build_trainer
from rtmdet.runs.folder import holds_run, load_run
from rtmdet.runs.options import CONFIG, RunOptions
from rtmdet.runs.settings.own_data import OwnData, check_resumable
from rtmdet.runs.time.correction import Correction
from rtmdet.runs.time.estimate import Course, Speed, duration_text
from rtmdet.runs.time.timing import measure_speed
from rtmdet.training.engine import Trainer

LONGEST = 60 * 24 * 365  # minutes
MEASURED_SHARE, LEAST_MEASURED, MOST_MEASURED = 0.05, 3.0, 30.0  # of the given time; seconds
MARGIN = 1.1  # on a suggested time
COARSE = 0.1  # of the time; longer epochs make the end inexact
LATE = 1.05  # a run may end later by this factor if that is nearer to the limit than ending early
VALIDATION_SHARE = 0.12  # of the time, at most; the last validation is always made
FEW_PASSES = 0.25  # of the default epochs: if fewer fit, a smaller input is better
WORTH = 0.5  # of the pixels that a smaller input saves must be saved in time, too: a GPU is often no faster with it
MOST_PASSES = 3  # times the default epochs; more rarely improve AP
SIDE = 32  # pixels that the sides of the input are multiples of
SAME_IN_FOLDS = (  # settings that follow from the images, or from the time
    "data.input_size", "data.batch_size", "augmentation.resize_range", "model.norm_statistics", "train.epochs",
    "train.warmup_iterations", "train.cosine_start", "train.validate_every", "train.ema_momentum",
    "train.ema_gamma", "augmentation.stage2_epochs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The time limit of a command, from its start on."""

    minutes: float
    began: float  # time.monotonic() at the start of the command

    def left(self) -> float:
        """Seconds until the end, the main process's value on all processes."""
        return gather(self.began + 60 * self.minutes - time.monotonic())[0]

    def refuse(self, needed: float) -> NoReturn:
        """Raise InputError, in the main process, for a limit that is shorter than the `needed` seconds."""
        if not is_main_process():
            raise StoppedByAnother
        minutes = math.ceil(needed * MARGIN / 6) / 10
        raise InputError(
            f"--minutes {self.minutes:g}: too short: one epoch needs about {duration_text(needed)} on this "
            f"machine: give --minutes {minutes:g} or more"
        )


def time_limit(options: RunOptions) -> TimeLimit | None:
    """The limit of --minutes; None without it, and for a resumed run. Raises InputError."""
    minutes = options.minutes
    if minutes is None:
        return None
    if options.data is None:
        raise InputError("--minutes works with --data only: with --config use --epochs")
    if not 0 < minutes <= LONGEST:  # NaN is neither
        raise InputError(f"--minutes is {minutes:g}: expected a number of minutes above 0 and at most {LONGEST}")
    if "train.epochs" in options.given:
        raise InputError("--minutes and train.epochs both set the length of the run: leave one of them out")
    if options.folds is None and holds_run(folder := options.folder):
        check_resumable(options, folder)
        say(f"--minutes is ignored: a resumed run keeps the epochs of {folder / CONFIG}")
        return None
    return TimeLimit(minutes, options.began)


@dataclass(frozen=True, slots=True)
class TimedRun:
    """The first, or only, of `runs` runs that share a time limit."""

    limit: TimeLimit
    options: RunOptions
    data: OwnData | None  # in the main process
    runs: int = 1

    def fit(
        self, config: Config, trainer: Trainer, data: tuple[CocoDataset, CocoDataset], *, ready: float, build: float
    ) -> tuple[Config, Trainer, Correction]:
        """The configuration that fits, its trainer, and the callback that corrects the length halfway.

        `trainer` was built from `config` and cannot be used afterwards. `ready`: seconds that the preparation of the
        run took; `build`: those of building the trainer in it. Raises InputError if no epoch fits.
        """
        default, course = config, Course.of(config, trainer.steps)
        speed = self._measure(config, trainer, data[1], build)
        passes = share_that_fits(self._seconds(speed, ready), speed, course)
        size = smaller_input(config.data.input_size, passes)
        if size != config.data.input_size and "data.input_size" not in self.options.given:
            say(f"  the time allows {passes:.0%} of the default epochs; a smaller input may allow more")
            smaller = self._configured([f"data.input_size={list(size)}"])
            trainer = rebuild(smaller, data, trainer.stepper.device)
            faster = self._measure(smaller, trainer, data[1], build)
            if is_worth(steps_seconds(faster, course) / steps_seconds(speed, course), config, smaller):
                config, speed = smaller, faster
            else:
                say(f"  hardly faster: the input stays at {size_text(config.data.input_size)}")
        seconds = self._seconds(speed, ready)
        every = config.train.validate_every if "train.validate_every" in self.options.given else None
        epochs, every = fit_epochs(seconds, speed, course, validate_every=every)
        if not epochs:
            passed = 60 * self.limit.minutes - self.limit.left()
            one = Course(1, 0, course.steps, 1).seconds(speed)
            self.limit.refuse(passed + self.runs * (one + 60 * self.limit.minutes - passed - seconds))
        settings = [f"train.epochs={epochs}", f"train.validate_every={every}"]
        config = self._configured([*settings, f"data.input_size={list(config.data.input_size)}"])
        report(default, config, seconds, speed, course)
        end = time.monotonic() + seconds
        trainer = rebuild(config, data, trainer.stepper.device)
        return config, trainer, Correction(trainer, config, speed, end=end)

    def _measure(self, config: Config, trainer: Trainer, val_data: CocoDataset, build: float) -> Speed:
        """Time the parts of a run, and print the result."""
        left, whole = self.limit.left(), 60 * self.limit.minutes
        if left <= 0:
            self.limit.refuse(2 * (whole - left))
        seconds = min(max(MEASURED_SHARE * whole, LEAST_MEASURED), MOST_MEASURED)
        speed = measure_speed(config, trainer, val_data, seconds=seconds, build_seconds=build)
        mixed = "mosaic and mixup" if config.augmentation.mixup_probability else "mosaic"
        say(
            f"timed at {size_text(config.data.input_size)}: {speed.mixed_step:.2f} s per step with {mixed}, "
            f"{speed.plain_step:.2f} s without, {speed.validation:.1f} s per validation, "
            f"{speed.save:.2f} s per checkpoint"
        )
        return speed

    def _seconds(self, speed: Speed, ready: float) -> float:
        """Seconds left for this run; each of several runs has its own preparation and final measurement."""
        others = (self.runs - 1) * ready
        measured = speed.validation if self.runs > 1 else 0.0
        return (self.limit.left() - others) / self.runs - measured

    def _configured(self, settings: Sequence[str]) -> Config:
        """The configuration with those of these settings that the user does not set; prints nothing."""
        wanted = [setting for setting in settings if setting.partition("=")[0] not in self.options.given]

        def configure() -> Config:
            assert self.data is not None, "this is the main process"
            return self.data.configure(wanted)

        with contextlib.redirect_stdout(None):
            return from_main(configure)


def rebuild(config: Config, data: tuple[CocoDataset, CocoDataset], device: torch.device) -> Trainer:
    """Build the trainer from the same random state as at the start; prints nothing."""
    torch.manual_seed(config.train.seed)
    with contextlib.redirect_stdout(None):
        return build_trainer(config, *data, device)


def report(default: Config, config: Config, seconds: float, speed: Speed, course: Course) -> None:
    """Print what was chosen, and how it differs from the default plan."""
    before, epochs = default.train.epochs, config.train.epochs
    takes = Course.of(config, course.steps).seconds(speed)
    say(
        f"--minutes: {epochs} epochs in {duration_text(takes)}, instead of the default {before}, which would take "
        f"{duration_text(course.seconds(speed))} at this input size"
    )
    for difference in differences(dump_config(default), dump_config(config)):
        say(f"  {difference}")
    one = (takes - speed.start) / epochs
    if epochs == MOST_PASSES * before:
        say(f"  the run will end early: more than {MOST_PASSES} times the default epochs rarely improve AP")
    elif one > COARSE * seconds:
        say(f"  an epoch takes {duration_text(one)} and only whole epochs are run: the end may be off by that much")


def fit_epochs(
    seconds: float, speed: Speed, default: Course, *, validate_every: int | None = None
) -> tuple[int, int]:
    """The number of epochs whose end is nearest to `seconds` from now, 0 if none ends in time; and validate_every.

    At most MOST_PASSES times the `default` epochs. Stage 2 keeps its share of them. Without `validate_every` so does
    the number of validations, unless they would take more than VALIDATION_SHARE of the time.
    """
    cost = speed.validation + 2 * speed.save
    affordable = int(VALIDATION_SHARE * seconds / cost) if cost else default.validations
    wanted = max(1, min(default.validations, affordable))

    def every(epochs: int) -> int:
        return -(-epochs // wanted) if validate_every is None else validate_every

    def total(epochs: int) -> float:
        plain = default.plain_epochs * epochs // default.epochs
        return Course(epochs, plain, default.steps, -(-epochs // every(epochs))).seconds(speed)

    in_time = (epochs for epochs in range(1, MOST_PASSES * default.epochs + 1) if total(epochs) <= LATE * seconds)
    found = min(in_time, key=lambda epochs: abs(total(epochs) - seconds), default=0)
    return found, every(max(found, 1))


def share_that_fits(seconds: float, speed: Speed, default: Course) -> float:
    """Roughly the share of the default epochs that fits into `seconds`, with the validations that fit."""
    return max((1 - VALIDATION_SHARE) * (seconds - speed.start - speed.end), 0.0) / steps_seconds(speed, default)


def steps_seconds(speed: Speed, course: Course) -> float:
    """What the steps of a run take."""
    return replace(course, validations=0).seconds(speed) - speed.start - speed.end


def is_worth(time: float, config: Config, smaller: Config) -> bool:
    """Whether steps that take `time` times as long at the smaller input are worth the pixels that it lacks."""
    pixels = math.prod(smaller.data.input_size) / math.prod(config.data.input_size)
    return 1 - time >= WORTH * (1 - pixels)


def smaller_input(size: tuple[int, int], passes: float) -> tuple[int, int]:
    """The input (H, W) at which FEW_PASSES of the default epochs fit, if a share `passes` of them fits at `size`.

    A step's time is roughly proportional to the pixels. Each side keeps at least half its length, and 64 pixels.
    """
    pixels, longer = math.prod(size), max(size)
    least = [max(-(-side // (2 * SIDE)), 2) * SIDE for side in size]
    for cut in range(0, longer // 2 + 1, SIDE):
        sides = (int(side * (1 - cut / longer) // SIDE) * SIDE for side in size)
        height, width = map(max, zip(sides, least, strict=True))
        if passes * pixels / (height * width) >= FEW_PASSES:
            break
    return height, width


def settings_of_first_fold(folder: Path) -> list[str]:
    """The settings that were chosen for the first of several runs, for the others."""
    settings = load_run(folder)
    return [f"{key}={json.dumps(attrgetter(key)(settings))}" for key in SAME_IN_FOLDS]
