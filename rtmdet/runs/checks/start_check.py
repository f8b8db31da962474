"""The check before the first step of every run: data, classes, geometry and first loss, in seconds.

Dimension legend: K classes.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch

from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.distributed import from_main, is_main_process
from rtmdet.core.errors import InputError
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import Batch, DenseOutputs, Losses, Target
from rtmdet.core.wording import shortened, size_text
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import collate
from rtmdet.evaluation.coco import metric_text
from rtmdet.models.freezing import set_training
from rtmdet.models.head import PRIOR_LOGIT, PRIOR_PROBABILITY
from rtmdet.models.norm_statistics import unchanged
from rtmdet.models.rtmdet import RTMDet
from rtmdet.runs.build import build_training_samples
from rtmdet.runs.checks.label_check import check_labels, check_sizes, report_small_boxes
from rtmdet.runs.settings.norm_choice import report_norms
from rtmdet.runs.weights_file import read_first_weights
from rtmdet.training.criterion import Criterion
from rtmdet.training.engine import Trainer
from rtmdet.weights.load import LoadedWeights, new_classes

BATCH = 4  # images of the forward pass
LARGER_INPUT = 1.5  # reported from this many times the pixels that the weights were trained with
LOSS_FACTOR = 4.0  # allowed between the first loss and the one at PRIOR_LOGIT
LEAST_SPREAD = 1e-3  # of logits or distances in strides; random layers have 0.005 or more, dead ones under 1e-5
LEAST_QUALITY = 0.1  # mean IoU of matched priors; below it, the boxes fit no objects
TIME_OF_PIXELS = 0.9  # exponent: small inputs use the hardware less efficiently


def check_start(
    config: Config, trainer: Trainer, train_data: CocoDataset, val_data: CocoDataset, *, resumed: bool
) -> None:
    """Report what is unusual, and raise InputError for what cannot be learned or measured.

    A `resumed` run skips the checks of its initial weights. Neither weights nor random states change.
    """
    input_size, device = config.data.input_size, trainer.stepper.device
    for dataset in (train_data, val_data) if is_main_process() else ():
        check_sizes(dataset)
    ap = check_labels(val_data, input_size)
    lost = report_small_boxes(train_data, input_size)
    new, loaded = None, True
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout in a backbone draws numbers
        if not resumed:
            weights = read_first_weights(config)
            report_larger_input(weights, input_size)
            loaded = weights is not None and not weights.backbone_only
            if loaded:
                assert isinstance(trainer.model, RTMDet), "build_trainer made it"
                report_norms(trainer.model, config, train_data, device, frozen=trainer.frozen)
            new = report_classes(weights, train_data.classes)
        batch = from_main(partial(first_batch, config, train_data))
        loss = check_first_loss(trainer, batch, config.train.precision, new=new, loaded=loaded)
    say(
        "start check passed: your labels, scored as if they were detections, reach AP "
        f"{metric_text(ap)}; boxes too small to be matched: {lost:.1%}; first loss {loss:.2f}"
    )


def report_larger_input(weights: LoadedWeights | None, input_size: tuple[int, int]) -> None:
    """Print the cost of an input much larger than the one the weights were trained with."""
    trained = None if weights is None else weights.trained_size or weights.input_size
    if trained is None:
        return
    ratio = input_size[0] * input_size[1] / (trained[0] * trained[1])
    if ratio >= LARGER_INPUT:
        sides = f"{trained[0]},{trained[1]}" if trained[0] != trained[1] else str(trained[0])
        say(
            f"input {size_text(input_size)}; the weights were trained at {trained[0]} x {trained[1]}"
            f": --set data.input_size={sides} is about {ratio**TIME_OF_PIXELS:.1f} times faster"
        )


def report_classes(weights: LoadedWeights | None, classes: Sequence[str]) -> bool:
    """Print which classes start from those of the weights; returns whether the class layers start from scratch."""
    if weights is None:
        return True
    new = new_classes(weights, classes)
    if not new and weights.classes is not None and not set(weights.classes) & set(classes):
        say(
            f"{shortened(classes)} start{'s' if len(classes) == 1 else ''} from what the weights learned about "
            f"{shortened(weights.classes)}{'' if len(classes) == 1 else ', in this order'}"
        )
    return len(new) == len(classes)


def first_batch(config: Config, dataset: CocoDataset) -> Batch:
    """The first samples of the run."""
    samples = build_training_samples(config, dataset)
    count = min(BATCH, max(config.data.batch_size, 2))
    return collate([samples[0, number % len(samples)] for number in range(count)])


@torch.no_grad()
def check_first_loss(trainer: Trainer, batch: Batch, precision: str, *, new: bool | None, loaded: bool) -> float:
    """Check loss and outputs of a batch before any step; returns the loss. Raises InputError.

    `new`: the class layers start from scratch, so that their loss is known; None: resumed, nothing is expected.
    `loaded`: neck and head come from a file. If they do not, unusual outputs are those of another initialization,
    which is no error.
    """
    stepper = trainer.stepper
    batch = batch.to(stepper.device)
    with unchanged(trainer.model):
        set_training(trainer.model, trainer.frozen)
        with torch.autocast(stepper.device.type, stepper.dtype, enabled=stepper.dtype is not torch.float32):
            outputs = trainer.model(batch.images)
    losses = stepper.criterion(outputs, batch.targets)
    total = float(losses.total)
    if not math.isfinite(total):
        remedy = "use other weights" if precision == "float32" else "use float32, or other weights"
        if new is None:
            remedy = f"the saved state is broken, or {remedy}: begin the run again, with a lower train.learning_rate"
        raise InputError(f"the first loss is {total:g} with train.precision {precision}: {remedy}")
    check_outputs(outputs, fatal=loaded or bool(trainer.frozen))
    expected = expected_loss(stepper.criterion, outputs, batch.targets)
    found = float(losses.classification)
    if new and not expected / LOSS_FACTOR <= found <= expected * LOSS_FACTOR:
        text = f"the first classification loss is {found:.3g}, expected about {expected:.3g} for class layers that "
        if loaded:
            raise InputError(f"{text}start from scratch: the weights do not fit this model")
        say(
            f"warning: {text}start from scratch. Likely cause: the head is not initialized as usual "
            f"(rtmdet/models/head.py: every score starts at {PRIOR_PROBABILITY:g}); if that is intended, ignore this"
        )
    if new is False and losses.ground_truths > 0 and found > expected * LOSS_FACTOR:
        say(
            f"the weights know little of images like these at this size yet (loss {found:.3g}; from scratch it would "
            f"be {expected:.3g}). Normal for another kind of object; otherwise check --weights and the input size"
        )
    if new is False and finds_nothing(losses, expected):
        say(
            f"the weights find none of the {losses.ground_truths} objects in the first images (classification loss "
            f"{found:.3g}; from scratch it would be {expected:.3g}; box loss {float(losses.box):.3g}): training may "
            "fail; check --weights and the input size"
        )
    return total


def check_outputs(outputs: DenseOutputs, *, fatal: bool) -> None:
    """Raise InputError (`fatal`) or warn if a network's outputs are the same everywhere, whatever the image."""
    logits, distances = output_spread(outputs)
    if min(logits, distances) >= LEAST_SPREAD:
        return
    text = (
        f"its outputs are the same everywhere in the first images (standard deviation of class logits {logits:.1g}, "
        f"of box distances {distances:.1g} strides; expected at least {LEAST_SPREAD:g})"
    )
    if fatal:
        raise InputError(
            f"the network cannot learn: {text}: frozen batch norms without trained statistics, or damaged weights; "
            "check model.norm_statistics, model.freeze and --weights"
        )
    say(
        f"warning: the network may not learn: {text}. Likely cause: the head is not initialized as usual "
        "(rtmdet/models/head.py); if its last layers start at zero on purpose, ignore this"
    )


def output_spread(outputs: DenseOutputs) -> tuple[float, float]:
    """Spatial standard deviation of logits and of distances (in strides), the largest of any channel.

    Both are near 0 if the outputs do not depend on the image, as with frozen batch norms before layers that start
    from scratch. Such a network has no useful gradient, although its loss looks normal.
    """
    spreads = []
    for levels in (outputs.logits, tuple(d / s for d, s in zip(outputs.distances, STRIDES, strict=True))):
        channels = [level.float().std((0, 2, 3), correction=0) for level in levels]  # (K,) or (4,)
        spreads.append(max(float(channel.max()) for channel in channels))
    return spreads[0], spreads[1]


def finds_nothing(losses: Losses, expected: float) -> bool:
    """Whether trained class layers predict no object although there are some.

    A classification loss far below `expected`, that of untrained class layers, is right for a detector of these
    objects, whose boxes then overlap them. If they do not, all scores are 0 or the weights do not fit.
    """
    quality = float(losses.quality) / max(int(losses.positives), 1)
    low = float(losses.classification) < expected / LOSS_FACTOR
    return losses.ground_truths > 0 and low and quality < LEAST_QUALITY


def expected_loss(criterion: Criterion, outputs: DenseOutputs, targets: Sequence[Target]) -> float:
    """The classification loss of these outputs if all logits were those of untrained class layers."""
    flat = tuple(torch.full_like(level, PRIOR_LOGIT, dtype=torch.float32) for level in outputs.logits)
    return float(criterion(DenseOutputs(flat, outputs.distances), targets).classification)
