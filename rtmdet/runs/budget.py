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
LATE = 1.05  # a run may be planned to end later by this factor, where that is nearer to the time than ending early
VALIDATION_SHARE = 0.12  # of the time, at most; one validation at the end is always made
FEW_PASSES = 0.25  # of the default epochs: with fewer, a smaller input that allows more of them is better
MOST_PASSES = 3  # times the default epochs; more of them seldom raise AP
END = 1.0  # seconds for closing files and ending processes


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured seconds on this machine."""

    start: float  # before the first step: the trainer is built, loader processes start
    mixed_step: float  # a step with mosaic and mixup, the wait for its images included
    plain_step: float  # a step of stage 2, without them
    validation: float  # all validation images, the evaluation and the pictures
    save: float  # writing a checkpoint
    end: float = END  # after the last step, beside its validation: the choice of the size, closing files


@dataclass(frozen=True, slots=True)
class Course:
    """How much of everything a run has."""

    epochs: int
    plain_epochs: int  # of them, without mosaic and mixup
    steps: int  # of an epoch
    validations: int

    def seconds(self, speed: Speed) -> float:
        """The time from the measurement to the end of the process."""
        mixed = (self.epochs - self.plain_epochs) * self.steps * speed.mixed_step
        plain = self.plain_epochs * self.steps * speed.plain_step
        saves = self.epochs + 2 * self.validations  # one before each validation, best.pth after it
        return speed.start + mixed + plain + self.validations * speed.validation + saves * speed.save + speed.end


@dataclass(frozen=True, slots=True)
class Fit:
    """The length of a run that ends in time; 0 epochs where none does."""

    epochs: int
    validate_every: int


def course_of(config: Config, steps: int) -> Course:
    """What a configuration has of everything, with `steps` an epoch."""
    train = config.train
    plan = Plan(train.epochs, train.validate_every, train.dense_validation)
    validations = sum(plan.is_validated(epoch) for epoch in range(1, train.epochs + 1))
    return Course(train.epochs, min(config.augmentation.stage2_epochs, train.epochs), steps, validations)


def fit_epochs(
    seconds: float, speed: Speed, default: Course, *, validate_every: int | None = None, most: int | None = None
) -> Fit:
    """The number of epochs, at most `most`, whose end is nearest to `seconds` from now.

    Stage 2 has the same share of the epochs as in the `default` course. Without a given `validate_every` there are
    as many validations as there, or fewer where they would take more than VALIDATION_SHARE of the time.
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
    """About which share of the default epochs can be made in `seconds`, with the validations they can afford."""
    steps = replace(default, validations=0).seconds(speed) - speed.start - speed.end
    return max((1 - VALIDATION_SHARE) * (seconds - speed.start - speed.end), 0.0) / steps


def fit_rest(seconds: float, speed: Speed, *, planned: int, steps: int, done: int, validate_every: int) -> int:
    """How many of the `planned` plain epochs that are left to make, so that the run ends in `seconds`.

    Between half and twice of them: the parts of the schedule stay in proportion. `done` epochs were made before.
    """

    def total(epochs: int) -> float:
        before, after = done // validate_every, -(-(done + epochs) // validate_every)
        return Course(epochs, epochs, steps, after - before).seconds(speed)

    return min(range(max(planned // 2, 1), 2 * planned + 1), key=lambda epochs: abs(total(epochs) - seconds))


def smaller_input(size: tuple[int, int], passes: float) -> tuple[int, int]:
    """The input (H, W) at which FEW_PASSES of the default epochs fit, where a share `passes` of them does at `size`.

    The time of a step is about proportional to the pixels. Each side keeps at least half its length.
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
    """Seconds a step in the long run, from the durations of the first steps of a loader, in order.

    The first step starts the loader processes and does not count. Whole epochs are averaged where there is one,
    their first steps included, which wait for the first batch; otherwise the later two thirds of what there is: in
    the first steps the loader processes fill their queues.
    """
    later = durations[1:]
    if not later:
        return durations[0]
    if whole := len(later) // steps * steps:
        return sum(later[-whole:]) / whole
    kept = later[len(later) // 3 :]
    return sum(kept) / len(kept)


def described(seconds: float) -> str:
    """A duration for people: 40 s, 6.5 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
