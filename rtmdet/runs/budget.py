"""How long a run takes, and which run fits a time: arithmetic on measured seconds, without torch.

A run is a sum of steps, validations and saved checkpoints. `Speed` holds what each costs on this machine, `Course`
how many of each a configuration has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtmdet.config.schema import Config
from rtmdet.training.plan import Plan

SIDE = 32  # pixels that the sides of the input are multiples of
LATE = 1.05  # a run may end later by this factor if that is nearer to the limit than ending early
VALIDATION_SHARE = 0.12  # of the time, at most; the last validation is always made
FEW_PASSES = 0.25  # of the default epochs: if fewer fit, a smaller input is better
MOST_PASSES = 3  # times the default epochs; more rarely improve AP
END = 1.0  # seconds to close files and end processes


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured seconds on this machine."""

    start: float  # before the first step: building the trainer, starting loader processes
    mixed_step: float  # a step with mosaic and mixup, including the wait for its images
    plain_step: float  # a step of stage 2, without them
    validation: float  # all validation images, the evaluation and the pictures
    save: float  # writing a checkpoint
    end: float = END  # after the last step, besides its validation: choosing the input size, closing files


@dataclass(frozen=True, slots=True)
class Course:
    """How many epochs, steps and validations a run has."""

    epochs: int
    plain_epochs: int  # of them, without mosaic and mixup
    steps: int  # per epoch
    validations: int

    def seconds(self, speed: Speed) -> float:
        """The time from the measurement to the end of the process."""
        mixed = (self.epochs - self.plain_epochs) * self.steps * speed.mixed_step
        plain = self.plain_epochs * self.steps * speed.plain_step
        saves = self.epochs + 2 * self.validations  # one before each validation, best.pth after it
        return speed.start + mixed + plain + self.validations * speed.validation + saves * speed.save + speed.end


@dataclass(frozen=True, slots=True)
class Fit:
    """The length of a run that ends in time; 0 epochs if none does."""

    epochs: int
    validate_every: int


def course_of(config: Config, steps: int) -> Course:
    """The course of a configuration with `steps` per epoch."""
    train = config.train
    plan = Plan(train.epochs, train.validate_every, train.dense_validation)
    validations = sum(plan.is_validated(epoch) for epoch in range(1, train.epochs + 1))
    return Course(train.epochs, min(config.augmentation.stage2_epochs, train.epochs), steps, validations)


def fit_epochs(
    seconds: float, speed: Speed, default: Course, *, validate_every: int | None = None, most: int | None = None
) -> Fit:
    """The number of epochs, at most `most`, whose end is nearest to `seconds` from now.

    Stage 2 keeps its share of the epochs from the `default` course. Without `validate_every` so does the number of
    validations, unless they would take more than VALIDATION_SHARE of the time.
    """
    most = MOST_PASSES * default.epochs if most is None else most
    cost = speed.validation + 2 * speed.save
    affordable = int(VALIDATION_SHARE * seconds / cost) if cost else default.validations
    wanted = max(1, min(default.validations, affordable))

    def every(epochs: int) -> int:
        return -(-epochs // wanted) if validate_every is None else validate_every

    def total(epochs: int) -> float:
        plain = default.plain_epochs * epochs // default.epochs
        return Course(epochs, plain, default.steps, -(-epochs // every(epochs))).seconds(speed)

    low, high = 0, most
    while low < high:  # the largest number that is not too long
        middle = (low + high + 1) // 2
        low, high = (middle, high) if total(middle) <= seconds else (low, middle - 1)
    if (
        low < most
        and total(low + 1) <= LATE * seconds
        and (low == 0 or total(low + 1) - seconds < seconds - total(low))
    ):
        low += 1
    return Fit(low, every(max(low, 1)))


def share_that_fits(seconds: float, speed: Speed, default: Course) -> float:
    """Roughly the share of the default epochs that fits into `seconds`, with the validations that fit."""
    steps = replace(default, validations=0).seconds(speed) - speed.start - speed.end
    return max((1 - VALIDATION_SHARE) * (seconds - speed.start - speed.end), 0.0) / steps


def fit_rest(seconds: float, speed: Speed, *, planned: int, steps: int, done: int, validate_every: int) -> int:
    """How many more plain epochs to run, so that the run ends in `seconds`; `planned` were left, `done` are finished.

    Between half and twice `planned`, so that the parts of the schedule stay in proportion.
    """

    def total(epochs: int) -> float:
        before, after = done // validate_every, -(-(done + epochs) // validate_every)
        return Course(epochs, epochs, steps, after - before).seconds(speed)

    return min(range(max(planned // 2, 1), 2 * planned + 1), key=lambda epochs: abs(total(epochs) - seconds))


def smaller_input(size: tuple[int, int], passes: float) -> tuple[int, int]:
    """The input (H, W) at which FEW_PASSES of the default epochs fit, if a share `passes` of them fits at `size`.

    A step's time is roughly proportional to the pixels. Each side keeps at least half its length.
    """
    height, width = size
    found = size
    for cut in range(0, max(size) // 2 + 1, SIDE):
        factor = 1 - cut / max(size)
        found = _whole(height * factor, least=height / 2), _whole(width * factor, least=width / 2)
        if passes * height * width / (found[0] * found[1]) >= FEW_PASSES:
            break
    return found


def _whole(side: float, *, least: float) -> int:
    """The multiple of SIDE below `side`; not below `least`, nor below 64, the smallest input."""
    lowest = -(-max(least, 2 * SIDE) // SIDE) * SIDE
    return int(max(side // SIDE * SIDE, lowest))


def pace(durations: Sequence[float], steps: int) -> float:
    """Seconds per step in the long run, from the durations of the first steps of a loader, in order.

    The first step, which starts the loader processes, does not count. Then the mean over whole epochs if there is
    one, else over the later two thirds: at first the loader processes fill their queues.
    """
    later = durations[1:]
    if not later:
        return durations[0]
    if whole := len(later) // steps * steps:
        return sum(later[-whole:]) / whole
    kept = later[len(later) // 3 :]
    return sum(kept) / len(kept)


def duration_text(seconds: float) -> str:
    """A duration as text: 40 s, 6.5 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
