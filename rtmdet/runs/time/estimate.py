"""How long a run takes: the sum of its steps, validations and checkpoints, each in seconds on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rtmdet.config.schema import Config
from rtmdet.core.console import write_above_bar
from rtmdet.training.engine import Plan
from rtmdet.training.records import Callback, StepRecord

END = 1.0  # seconds to close files and end processes
LEAST_STEPS, LEAST_SECONDS = 8, 5.0  # timed before the estimate is printed
FORWARD = 0.4  # time per validation image, relative to a training step's
SAVE = 0.2  # seconds
LONG = 15 * 60  # seconds; for longer runs the estimate suggests fewer epochs


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured seconds on this machine."""

    start: float  # before the first step: building the trainer, starting loader processes
    mixed_step: float  # a step with mosaic (and mixup), including the wait for its images
    plain_step: float  # a step of stage 2, without them
    validation: float  # all validation images, the evaluation and the pictures
    save: float  # writing a checkpoint
    end: float = END  # after the last step, besides its validation: choosing the input size, closing files


@dataclass(frozen=True, slots=True)
class Course:
    """How many epochs, steps and validations a run has."""

    epochs: int
    plain_epochs: int  # of them, without mosaic (and mixup)
    steps: int  # per epoch
    validations: int

    @classmethod
    def of(cls, config: Config, steps: int) -> "Course":
        """The course of a configuration with `steps` per epoch."""
        train = config.train
        plan = Plan(train.epochs, train.validate_every, train.dense_validation)
        validations = sum(plan.is_validated(epoch) for epoch in range(1, train.epochs + 1))
        return cls(train.epochs, train.epochs - config.stage2_start, steps, validations)

    def seconds(self, speed: Speed) -> float:
        """The time from the measurement to the end of the process."""
        mixed = (self.epochs - self.plain_epochs) * self.steps * speed.mixed_step
        plain = self.plain_epochs * self.steps * speed.plain_step
        saves = self.epochs + 2 * self.validations  # one before each validation, best.pth after it
        return speed.start + mixed + plain + self.validations * speed.validation + saves * speed.save + speed.end


def pace(durations: Sequence[float], steps: int) -> float:
    """Seconds per step in the long run, from the durations of the first steps of a loader, in order.

    The first step, which starts the loader processes, does not count. Then the mean over whole epochs if there is
    one, else over the later two thirds: at first the loader processes fill their queues.
    """
    later = durations[1:] or durations
    whole = len(later) // steps * steps
    kept = later[-whole:] if whole else later[len(later) // 3 :]
    return sum(kept) / len(kept)


def duration_text(seconds: float) -> str:
    """A duration as text: 40 s, 6.5 min, 2 h 10 min, 3 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    if seconds > 48 * 3600:
        return f"{seconds / 86400:.0f} days"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@dataclass(eq=False)
class DurationEstimate(Callback):
    """Prints one line as soon as enough steps were timed."""

    course: Course
    validation_batches: int
    choice: float = 0.0  # the cost of choosing the input size for detection, in validations
    fits: bool = True  # whether to mention --minutes
    _durations: list[float] = field(default_factory=list, init=False)
    _printed: bool = field(default=False, init=False)

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
        course, fewer = self.course, self.course.epochs // 4
        seconds = self.seconds(course)
        text = f"the run takes about {duration_text(seconds)} on this machine"
        if seconds >= LONG and fewer:
            validations = max(1, round(course.validations * fewer / course.epochs))
            # All steps count alike here.
            short = replace(course, epochs=fewer, plain_epochs=0, validations=validations)
            text += f"; --epochs {fewer} takes {duration_text(self.seconds(short))}"
        return f"{text}; --minutes N limits the time" if self.fits else text

    def seconds(self, course: Course) -> float:
        """The estimated time from the first step to the end of a run; all steps count alike."""
        step = pace(self._durations, course.steps)
        start = max(self._durations[0] - step, 0.0)
        validation = self.validation_batches * FORWARD * step
        return course.seconds(Speed(start, step, step, validation, SAVE, END + self.choice * validation))
