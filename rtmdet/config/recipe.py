"""Hyper-parameters of a run on your own data, derived from the number of images. Study: docs/small-data.md."""

import math
from typing import Literal, NamedTuple

BATCH = 8
FEW_IMAGES = 24  # with fewer, a batch of 8 gives less than three steps per epoch
EPOCHS = 40
LEAST_IMAGES_SEEN = 2400  # in the whole run, repetitions included
NEW_CLASSES, IMAGES_SEEN_NEW_CLASSES = 5, 12_000  # images seen for this many new classes
LEAST_NEW_CLASSES, MOST_NEW_CLASSES = 6000, 20_000  # bounds for fewer and for more new classes
MOST_IMAGES_SEEN = 40_000
FACTORS = {"detector": 1, "backbone": 3, "nothing": 5}  # on the images seen, by what the initial weights hold
LEARNING_RATE = 1e-3  # AdamW, batch of 8
LEARNING_RATE_NEW_CLASSES = 2e-3
CLASS_RATE_FACTOR = 5.0
IOU_THRESHOLD = 0.6  # of NMS
MANY_STEPS = 20_000  # from here on the original's slow EMA is kept, and mixup with any number of new classes

Start = Literal["detector", "backbone", "nothing"]  # what the initial weights hold


class Choice(NamedTuple):
    """A setting with the reason for its value."""

    key: str
    value: str | int | float | bool | list[int] | list[float]
    reason: str


def choose_recipe(
    images: int,
    *,
    start: Start,
    new_classes: int = 0,
    batch_size: int | None = None,
    epochs: int | None = None,
    batches_per_step: int = 1,
) -> list[Choice]:
    """Hyper-parameters for `images` training images.

    `start`: the initial weights hold a detector, a backbone only (neck and head start from scratch), or nothing.
    `new_classes`: number of classes unknown to the checkpoint; their prediction layers start from scratch.
    `batch_size` and `epochs`: the user's values, if given; the rest follows from them.
    `batches_per_step`: accumulated ones, in all processes.
    """
    choices = []
    new_classes = new_classes if start == "detector" else 0
    if batch_size is None:
        batch_size = BATCH if images >= FEW_IMAGES else BATCH // 2
        choices.append(Choice("data.batch_size", batch_size, f"enough steps per epoch with {images} images"))
    step_images = batch_size * batches_per_step
    steps = math.ceil(images / step_images)
    if epochs is None:
        epochs = _epochs(images, start=start, new_classes=new_classes)
        reason = f"{epochs * images} images seen, {epochs * steps} steps"
        if start == "backbone":
            reason += "; longer because neck and head start from scratch: the weights are a backbone only"
        elif start == "nothing":
            reason += "; longer because everything starts from scratch"
        elif new_classes:
            are = "class is" if new_classes == 1 else "classes are"
            reason += f"; longer because {new_classes} {are} new to the weights"
        choices.append(Choice("train.epochs", epochs, reason))
    base = LEARNING_RATE_NEW_CLASSES if new_classes else LEARNING_RATE
    rate = float(f"{base * math.sqrt(step_images / BATCH):.2g}")
    step = "batch" if batches_per_step == 1 else "images per step"
    warm_up = max(1, min(1000, epochs * steps // 20))
    return [
        *choices,
        Choice("train.learning_rate", rate, f"{base:g} x sqrt({step} / {BATCH})"),
        Choice("train.warmup_iterations", warm_up, "5 % of all steps"),
        Choice("augmentation.stage2_epochs", epochs // 2, "the second half of the epochs without mosaic and mixup"),
        Choice("train.validate_every", math.ceil(epochs / 8), "at most eight validations per run"),
        Choice(
            "evaluation.choose_input_size",
            True,
            "tried after training: detection often works better at a larger input",
        ),
        Choice("evaluation.iou_threshold", IOU_THRESHOLD, "NMS; the original has 0.65"),
        Choice("evaluation.box_voting", True, "each box becomes the weighted mean of those that NMS drops for it"),
        *_average(epochs * steps),
        *_start(start),
        *(_new_classes(new_classes, epochs * steps) if new_classes else []),
    ]


def usual_images_seen(start: Start, new_classes: int) -> int:
    """Least number of images seen in a whole run, repetitions included; more with many images."""
    return FACTORS[start] * _least_images_seen(new_classes if start == "detector" else 0)


def _epochs(images: int, *, start: Start, new_classes: int) -> int:
    seen = min(max(EPOCHS * images, _least_images_seen(new_classes)), MOST_IMAGES_SEEN)
    return max(FACTORS[start] * seen // images, 1)


def _least_images_seen(new_classes: int) -> int:
    if not new_classes:
        return LEAST_IMAGES_SEEN
    wanted = round(IMAGES_SEEN_NEW_CLASSES * math.sqrt(new_classes / NEW_CLASSES))
    return min(max(wanted, LEAST_NEW_CLASSES), MOST_NEW_CLASSES)


def _average(steps: int) -> list[Choice]:
    """EMA over about the last 5 % of the run; the original's in long runs."""
    if steps >= MANY_STEPS:
        return []
    momentum = float(f"{min(20 / steps, 0.1):.2g}")
    return [
        Choice("train.ema_momentum", momentum, "EMA over about 5 % of the run"),
        Choice("train.ema_gamma", float(max(steps // 20, 1)), "warm-up of the EMA, in steps"),
    ]


def _start(start: Start) -> list[Choice]:
    """Settings for layers that start from scratch."""
    if start != "detector":
        layers = "neck and head" if start == "backbone" else "all layers"
        return [Choice("train.clip_gradient", 35.0, f"{layers} start from scratch: gradients are large at first")]
    return []


def _new_classes(count: int, steps: int) -> list[Choice]:
    reason = f"higher learning rate for the class layers: {count} new class{'' if count == 1 else 'es'}"
    choices = [Choice("train.class_rate_factor", CLASS_RATE_FACTOR, reason)]
    if count > 1 and steps < MANY_STEPS:
        # Differs from mmdet, which always has mixup: half-transparent objects are harder to tell apart.
        reason = f"no half-transparent images: {count} new classes have to be told apart"
        choices.append(Choice("augmentation.mixup_probability", 0.0, reason))
    return choices
