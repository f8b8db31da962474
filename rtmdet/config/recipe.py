"""The settings of a run on own data, chosen by rule from how much of it there is. Study: docs/small-data.md."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

BATCH = 8
FEW_IMAGES = 24  # with fewer, a batch of 8 leaves less than three steps an epoch
EPOCHS = 40
LEAST_IMAGES_SEEN = 2400  # passes of one image through the network
NEW_CLASSES, IMAGES_SEEN_NEW_CLASSES = 5, 12_000  # layers that begin anew for so many classes need so many passes
LEAST_NEW_CLASSES, MOST_NEW_CLASSES = 6000, 20_000  # and with fewer or more classes these at least and at most
MOST_IMAGES_SEEN = 40_000
PASSES = {"detector": 1, "backbone": 3, "nothing": 5}  # factor on the passes, by what the first weights hold
LEARNING_RATE = 1e-3  # of AdamW, for a batch of 8
LEARNING_RATE_NEW_CLASSES = 2e-3
CLASS_RATE_FACTOR = 5.0
MANY_STEPS = 20_000  # steps from which on the original's slow average fits


Start = Literal["detector", "backbone", "nothing"]  # what the first weights hold


class Choice(NamedTuple):
    """A setting with what speaks for it."""

    key: str
    value: str | int | float | bool | list[int]
    reason: str


def choose_recipe(
    images: int,
    *,
    start: Start,
    new_classes: int = 0,
    batch_size: int | None = None,
    epochs: int | None = None,
) -> list[Choice]:
    """The settings for `images` training images, from what the first weights hold.

    `start`: a whole detector, a backbone only (neck and head start from scratch), or nothing.

    `new_classes`: of so many classes of the data the trained detector knows nothing, so that the layers that predict
    them begin anew.

    `batch_size` and `epochs` are the user's, where given; the rest follows from them.
    """
    choices = []
    new_classes = new_classes if start == "detector" else 0
    if batch_size is None:
        batch_size = BATCH if images >= FEW_IMAGES else BATCH // 2
        choices.append(Choice("data.batch_size", batch_size, f"steps enough an epoch of {images} images"))
    steps = math.ceil(images / batch_size)
    if epochs is None:
        epochs = _epochs(images, start=start, new_classes=new_classes)
        reason = f"{epochs * images} images seen, {epochs * steps} steps"
        if start == "backbone":
            reason += "; the weights are of a backbone only: neck and head start from scratch, which takes more"
        elif start == "nothing":
            reason += "; without first weights it takes more"
        elif new_classes:
            reason += f"; {new_classes} new classes take more"
        choices.append(Choice("train.epochs", epochs, reason))
    base = LEARNING_RATE_NEW_CLASSES if new_classes else LEARNING_RATE
    rate = float(f"{base * math.sqrt(batch_size / BATCH):.2g}")
    warm_up = max(1, min(1000, epochs * steps // 20))
    return [
        *choices,
        Choice("train.learning_rate", rate, f"{base:g} x sqrt(batch / {BATCH})"),
        Choice("train.warmup_iterations", warm_up, "one step in twenty"),
        Choice("augmentation.stage2_epochs", epochs // 2, "the second half without mosaic and mixup"),
        Choice("train.validate_every", math.ceil(epochs / 8), "at most eight times a run"),
        Choice(
            "evaluation.choose_input_size",
            True,
            "measured at the end: a larger input than the training's often finds more",
        ),
        *_average(epochs * steps),
        *_start(start),
        *(_new_classes() if new_classes else []),
    ]


def usual_passes(start: Start, new_classes: int) -> int:
    """How often images are shown at least, all together; with many images it is more."""
    return PASSES[start] * _least_passes(new_classes if start == "detector" else 0)


def _epochs(images: int, *, start: Start, new_classes: int) -> int:
    seen = min(max(EPOCHS * images, _least_passes(new_classes)), MOST_IMAGES_SEEN)
    return max(PASSES[start] * seen // images, 1)


def _least_passes(new_classes: int) -> int:
    if not new_classes:
        return LEAST_IMAGES_SEEN
    wanted = round(IMAGES_SEEN_NEW_CLASSES * math.sqrt(new_classes / NEW_CLASSES))
    return min(max(wanted, LEAST_NEW_CLASSES), MOST_NEW_CLASSES)


def _average(steps: int) -> list[Choice]:
    """Weights averaged over about the last twentieth of the run."""
    if steps >= MANY_STEPS:
        return []
    momentum = float(f"{min(20 / steps, 0.1):.2g}")
    return [
        Choice("train.ema_momentum", momentum, "averages over about a twentieth of the run"),
        Choice("train.ema_gamma", float(max(steps // 20, 1)), "reached after as many steps"),
    ]


def _start(start: Start) -> list[Choice]:
    """Settings that the first weights require; layers that start from scratch have no statistics to freeze."""
    if start != "detector":
        layers = "neck and head" if start == "backbone" else "all layers"
        return [Choice("train.clip_gradient", 35.0, f"{layers} start from scratch: the first gradients are large")]
    return []


def _new_classes() -> list[Choice]:
    return [Choice("train.class_rate_factor", CLASS_RATE_FACTOR, "the layers that predict the classes are new")]
