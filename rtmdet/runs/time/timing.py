"""Measures how long the parts of a run take on this machine, with a trainer that is then thrown away."""

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from rtmdet.config.schema import Config
from rtmdet.core.distributed import gather, world_size
from rtmdet.core.structures import Batch
from rtmdet.core.whole_file import writing
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import EvaluationLoader
from rtmdet.deploy.torch_backend import TorchBackend
from rtmdet.evaluation.coco import CocoMetrics
from rtmdet.measuring.measure import detect_all, detect_all_tiled
from rtmdet.runs.time.estimate import END, Speed, pace
from rtmdet.runs.validation import build_validation_loader, choice_cost, detection_size, inputs_per_image
from rtmdet.training.engine import Trainer
from rtmdet.training.records import Callback, StepRecord
from rtmdet.viz.curves import LoggedRun, draw_curves
from rtmdet.viz.score_curves import draw_score_curves

LEAST_STEPS = 3  # timed in each stage
SEEN_SCORE = 0.02  # score threshold here: new class layers start with scores of 0.01, and too many candidates


def measure_speed(
    config: Config, trainer: Trainer, val_data: CocoDataset, *, seconds: float, build_seconds: float
) -> Speed:
    """Time real steps of both stages, part of a validation and a checkpoint, in about `seconds` in total.

    Changes the weights of the trainer. All processes get the numbers of the main one.
    """
    folder, train = trainer.folder, config.train
    with writing(folder, "folder of the run"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="timing-", dir=folder) as temporary:
            trainer.folder = Path(temporary)
            mixed, plain = range(config.stage2_start), range(config.stage2_start, train.epochs)
            first = time_steps(trainer, plain or mixed, seconds=0.3 * seconds)
            mixed_step = plain_step = pace(first, trainer.steps)
            if mixed and plain:
                mixed_step = pace(time_steps(trainer, mixed, seconds=0.5 * seconds), trainer.steps)
            began = time.perf_counter()
            trainer.save_state()
            save = time.perf_counter() - began
            detection, rest = time_validation(config, trainer, val_data, seconds=0.2 * seconds, step=plain_step)
    learned = len(trainer.loader) * config.data.batch_size * world_size()  # images, rounded up to whole batches
    inputs = round(len(val_data) * inputs_per_image(config, val_data))
    end = END + choice_cost(config, train=learned, val=inputs) * detection
    start = build_seconds + max(first[0] - plain_step, 0.0)
    return gather(Speed(start, mixed_step, plain_step, detection + rest, save, end))[0]


class _StopTimingError(Exception):
    """Enough steps were timed."""


class _Stopwatch(Callback):
    """A callback that ends the training after `seconds`, at the same step on all processes."""

    def __init__(self, seconds: float) -> None:
        self.durations: list[float] = []
        self._seconds = seconds
        self._began = self._last = time.perf_counter()

    def on_step(self, record: StepRecord) -> None:
        """Record the time since the previous step."""
        now = time.perf_counter()
        self.durations.append(now - self._last)
        self._last = now
        enough = len(self.durations) >= LEAST_STEPS and now - self._began >= self._seconds
        if gather(enough)[0]:
            raise _StopTimingError


def time_steps(trainer: Trainer, epochs: range, *, seconds: float) -> list[float]:
    """The durations of real steps, cycling through some epochs, counted from 0."""
    watch = _Stopwatch(seconds)
    callbacks, trainer.callbacks = trainer.callbacks, [watch]
    try:
        with suppress(_StopTimingError):
            for epoch in cycle(epochs):  # a new epoch each time: the loader may still hold samples of the last one
                trainer.epoch, trainer.step, trainer.iteration = epoch, 0, 0  # reuses the first learning rates
                trainer.train_epoch()
    finally:
        trainer.callbacks = callbacks
    return watch.durations


def time_validation(
    config: Config, trainer: Trainer, val_data: CocoDataset, *, seconds: float, step: float
) -> tuple[float, float]:
    """Seconds of a whole validation, extrapolated from some images: detection, and metrics with pictures.

    The number of batches is fixed beforehand, so that processes do not wait for each other.
    """
    if config.data.tiling is not None:
        return _time_tiled_validation(config, trainer, val_data)
    loader = build_validation_loader(config, val_data, detection_size(config))
    batches = min(len(loader), gather(max(2, round(seconds / step)))[0])
    part = _Part(loader, batches)
    device = trainer.stepper.device
    settings = replace(config.evaluation, score_threshold=max(config.evaluation.score_threshold, SEEN_SCORE))
    found = detect_all(TorchBackend(trainer.averaged.eval(), device), val_data, part, settings)
    began = time.perf_counter()
    metrics = found.evaluate()
    if not part.durations:  # fewer validation images than processes
        return 0.0, 0.0
    evaluation = (time.perf_counter() - began) * len(loader) / batches
    detection = pace(part.durations, len(loader)) * len(loader)
    return detection, evaluation + time_pictures(metrics, trainer.folder)


def _time_tiled_validation(config: Config, trainer: Trainer, val_data: CocoDataset) -> tuple[float, float]:
    """As time_validation, from the windows of two pictures, each decoded once."""
    assert config.data.tiling is not None, "asked for"
    timed = range(min(2, len(val_data)))
    share = math.ceil(len(val_data) / world_size())  # of one process
    backend = TorchBackend(trainer.averaged.eval(), trainer.stepper.device)
    began = time.perf_counter()
    found = detect_all_tiled(
        backend, detection_size(config), val_data, config.data.tiling, config.evaluation,
        batch_size=config.data.batch_size, indices=timed,
    )  # fmt: skip
    detected = time.perf_counter()
    metrics = found.evaluate()
    evaluation = (time.perf_counter() - detected) * share / len(timed)
    return (detected - began) * share / len(timed), evaluation + time_pictures(metrics, trainer.folder)


class _Part:
    """The first batches of a loader, with the time spent on each."""

    def __init__(self, loader: EvaluationLoader, batches: int) -> None:
        self.durations: list[float] = []
        self._loader = loader
        self._batches = batches

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        last = time.perf_counter()
        for batch in islice(self._loader, self._batches):
            yield batch
            now = time.perf_counter()
            self.durations.append(now - last)
            last = now


def time_pictures(metrics: CocoMetrics, folder: Path) -> float:
    """Seconds of drawing the curves of a run."""
    draw_score_curves(metrics.classes, folder / "f1.png")  # the first picture prepares fonts
    began = time.perf_counter()
    draw_score_curves(metrics.classes, folder / "f1.png")
    draw_curves([LoggedRun("timing", [])], folder / "curves.png")
    return time.perf_counter() - began
