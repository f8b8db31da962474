"""A training run of milliseconds: a detector of a few hundred weights, random batches, an callback that notes all.

Dimension legend: B batch, K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtmdet.core.facts import ModelFacts
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import Batch, DenseOutputs, ImageMeta, Target
from rtmdet.evaluation.coco import CocoMetrics
from rtmdet.training.criterion import Criterion
from rtmdet.training.ema import ExponentialMovingAverage
from rtmdet.training.engine import Plan, Trainer
from rtmdet.training.records import Callback, StepRecord, ValidationRecord
from rtmdet.training.step import Stepper
from rtmdet.weights.checkpoint import CheckpointMeta

BATCHES = 3  # an epoch
SIZE = 64
META = CheckpointMeta(ModelFacts(("balloon", "kite"), (SIZE, SIZE), size="tiny"))
PLAN = Plan(epochs=2, validate_every=1)


class SmallDetector(nn.Module):
    """Patches of 8 x 8 pixels, averaged for the coarser levels; dropout makes it depend on the random state."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.BatchNorm2d(4))
            self.logits = nn.Conv2d(4, len(META.facts.classes), 1)
            self.distances = nn.Conv2d(4, 4, 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, images: Tensor) -> DenseOutputs:
        x = self.dropout(self.stem(images.float() / 255))
        maps = [F.avg_pool2d(x, stride // 8) for stride in STRIDES]
        distances = [self.distances(level).exp() * stride for level, stride in zip(maps, STRIDES, strict=True)]
        return DenseOutputs(tuple(self.logits(level) for level in maps), tuple(distances))


class RandomLoader:
    """Batches of two images that depend on the epoch alone; remembers which epochs were asked for."""

    def __init__(self, batches: int = BATCHES) -> None:
        self.batches = batches
        self.epochs: list[int] = []
        self.start = 0

    def __len__(self) -> int:
        return self.batches

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        self.epochs.append(epoch)
        self.start = start

    def __iter__(self) -> Iterator[Batch]:
        return islice(self.all_batches(), self.start, None)

    def all_batches(self) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(self.epochs[-1])
        for number in range(self.batches):
            images = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
            boxes = torch.tensor([[4.0, 4.0, 36.0, 44.0]]) + torch.rand(1, 4, generator=random) * 16
            targets = [Target(boxes, torch.tensor([number % 2])), Target(torch.zeros(0, 4), torch.zeros(0).long())]
            yield Batch(images, targets, [ImageMeta(10 * number + i, "", (SIZE, SIZE)) for i in (7, 8)])


class SameBatchLoader(RandomLoader):
    """Two images with a bright rectangle each, over and over."""

    def all_batches(self) -> Iterator[Batch]:
        images = torch.full((2, 3, SIZE, SIZE), 60, dtype=torch.uint8)
        boxes = torch.tensor([[[12.0, 16.0, 40.0, 44.0]], [[8.0, 20.0, 40.0, 60.0]]])
        images[0, :, 16:44, 12:40] = 200
        images[1, 0, 20:60, 8:40] = 250
        targets = [Target(boxes[i], torch.tensor([i])) for i in range(2)]
        metas = [ImageMeta(i, "", (SIZE, SIZE)) for i in range(2)]
        for _ in range(self.batches):
            yield Batch(images, targets, metas)


class Recorder(Callback):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []
        self.validations: list[ValidationRecord] = []
        self.told: list[str] = []

    def on_step(self, record: StepRecord) -> None:
        self.steps.append(record)
        self.told.append("step")

    def on_validation(self, record: ValidationRecord) -> None:
        self.validations.append(record)
        self.told.append("validation")

    def on_epoch_end(self, epoch: int) -> None:
        self.told.append(f"end {epoch}")

    def close(self) -> None:
        self.told.append("close")


def metrics(ap: float) -> CocoMetrics:
    return CocoMetrics((ap, *[0.0] * 11), ())


def make_trainer(
    folder: Path,
    *,
    seed: int = 0,
    plan: Plan = PLAN,
    evaluate: Callable[[nn.Module], CocoMetrics] = lambda _: metrics(0.5),
    callbacks: Sequence[Callback] = (),
    frozen: bool = False,
    batches: int = BATCHES,
    meta: CheckpointMeta = META,
    model: nn.Module | None = None,
    clip_gradient: float | None = None,
    precision: str = "float32",
    ema: bool = True,
) -> Trainer:
    """A trainer of a small detector; `frozen` stops its stem."""
    model = model or SmallDetector(seed)
    stem = [model.stem.requires_grad_(False)] if frozen and isinstance(model, SmallDetector) else []
    return Trainer(
        model,
        stepper=Stepper(
            model,
            criterion=Criterion(len(meta.facts.classes)),
            optimizer=torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1.0),
            device=torch.device("cpu"),
            precision=precision,
            clip_gradient=clip_gradient,
        ),
        learning_rates=np.linspace(0.01, 0.002, plan.epochs * batches),
        ema=ExponentialMovingAverage(model, gamma=4) if ema else None,
        loader=RandomLoader(batches),
        evaluate=evaluate,
        plan=plan,
        folder=folder,
        meta=meta,
        frozen=stem,
        callbacks=callbacks,
    )


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)
