"""The check of every run before its first step: data, classes, geometry and first loss, in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pycocotools.coco import COCO
from torch import nn

from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.distributed import gather, is_main_process, rank, world_size
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.structures import Batch, DenseOutputs, ImageMeta, Target
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset, index_coco, reason_against
from rtmdet.data.coco.file import CocoAnnotation, CocoFile
from rtmdet.data.loader import collate
from rtmdet.evaluation.coco import shown
from rtmdet.models.norm_statistics import lack_statistics
from rtmdet.models.rtmdet import RTMDet
from rtmdet.runs.build_trainer import build_training_samples
from rtmdet.runs.first_weights import AGREEMENT_IMAGES, LEAST_AGREEMENT, norm_agreement
from rtmdet.runs.plain_images import plain_images, spread
from rtmdet.runs.weights_file import read_first_weights
from rtmdet.training.engine import Trainer
from rtmdet.training.preflight import (
    LEAST_SPREAD,
    LOSS_FACTOR,
    expected_loss,
    finds_nothing,
    ground_truth_ap,
    output_spread,
    without_prior,
)
from rtmdet.weights.load import LoadedWeights, new_classes

IMAGES = 200  # at most so many are evaluated
BOXES = 100  # of each, at most: COCO counts no more detections
HEADERS = 1000  # images of a split whose size is looked at, at most
BATCH = 4  # images of the forward pass
EXACT, USABLE = 0.995, 0.5  # AP of the ground truth: below the one it is said, below the other refused
LARGER_INPUT = 1.5  # times the pixels of the weights' own input, from which on a run says so
TIME_OF_PIXELS = 0.9  # exponent: small inputs use a machine less well
MOST_WITHOUT_PRIOR = 0.01  # share of boxes from which on a larger input is advised


def check_start(
    config: Config, trainer: Trainer, train_data: CocoDataset, val_data: CocoDataset, *, resumed: bool
) -> None:
    """Say what is unusual and refuse what cannot be learned or measured. Raises InputError.

    A `resumed` run has passed what concerns its first weights. Neither weights nor random states change.
    """
    device = trainer.stepper.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout in a backbone draws
        _check_start(config, trainer, train_data, val_data, resumed=resumed)


def _check_start(
    config: Config, trainer: Trainer, train_data: CocoDataset, val_data: CocoDataset, *, resumed: bool
) -> None:
    input_size = config.data.input_size
    for dataset in (train_data, val_data) if is_main_process() else ():
        check_sizes(dataset)
    ap = check_evaluation(val_data, input_size)
    lost = check_priors(train_data, input_size)
    new = None
    if not resumed:
        weights = read_first_weights(config)
        compare_sizes(weights, input_size)
        check_norms(config, trainer, train_data, weights)
        new = compare_classes(weights, train_data.classes)
    batch = gather(first_batch(config, train_data) if is_main_process() else None)[0]
    assert batch is not None, "the main process has one"
    loss = check_first_loss(trainer, batch, config.train.precision, new=new)
    say(
        f"start check passed: your labels, scored as if they were detections, reach AP {shown(ap)}; boxes too small "
        f"to be matched: {lost:.1%}; first loss {loss:.2f}"
    )


def check_sizes(dataset: CocoDataset) -> None:
    """Refuse images of other sizes than the annotation file says, before a run meets them in its first epoch.

    Of more than HEADERS images some are looked at, evenly over the file.
    """
    step = -(-len(dataset) // HEADERS)
    for index in range(0, len(dataset), step):
        dataset.check_size(index)


def check_evaluation(dataset: CocoDataset, input_size: tuple[int, int]) -> float:
    """Feed the ground truth through encoding, decoding and evaluation; returns its AP."""
    images = [target_of(dataset, index, most=BOXES) for index in range(min(IMAGES, len(dataset)))]
    index = index_of(dataset, [meta for meta, _ in images], most=BOXES)
    ap = ground_truth_ap(index, dataset.category_ids, images[rank() :: world_size()], input_size)
    if -1 < ap < USABLE:
        raise InputError(
            f"the validation boxes, measured against themselves, reach AP {ap:.3f} of 1: they lie outside their "
            "images, or their ids are mixed up: look with rtmdet data show"
        )
    if -1 < ap < EXACT:
        say(
            f"the validation boxes, measured against themselves, reach AP {ap:.3f} of 1: some reach out of their "
            "images"
        )
    return ap


def target_of(dataset: CocoDataset, index: int, most: int | None = None) -> tuple[ImageMeta, Target]:
    """The ground truth of an image in its own pixels, or the `most` first of it."""
    meta, truth = dataset.truth(index)
    return meta, Target(torch.from_numpy(truth.boxes[:most]), torch.from_numpy(truth.labels[:most]))


def index_of(dataset: CocoDataset, metas: Sequence[ImageMeta], most: int | None = None) -> COCO:
    """The index of these images alone, with the annotations that the data set uses, or the `most` first of each."""
    annotations: list[CocoAnnotation] = []
    for meta in metas:
        found = dataset.coco.imgToAnns[meta.image_id]
        annotations += [one for one in found if not reason_against(one, dataset.category_ids)][:most]
    file: CocoFile = {
        "categories": dataset.coco.dataset["categories"],
        "images": [dataset.coco.imgs[meta.image_id] for meta in metas],
        "annotations": annotations,
    }
    return index_coco(file)


def check_priors(dataset: CocoDataset, input_size: tuple[int, int]) -> float:
    """The share 0 .. 1 of training boxes that are too small for this input size; many are said."""
    images = [target_of(dataset, index) for index in range(len(dataset))]
    boxes = torch.cat(
        [Letterbox.fit(meta.original_size, input_size).to_input(target.boxes) for meta, target in images]
    )
    lost = without_prior(boxes, input_size)
    if lost > MOST_WITHOUT_PRIOR * len(boxes):
        height, width = input_size
        say(
            f"{lost} of {len(boxes)} training boxes are so small at {height} x {width} pixels that no prior lies in "
            "them: a larger data.input_size lets them learn (rtmdet data check names one)"
        )
    return lost / len(boxes)


def check_norms(config: Config, trainer: Trainer, dataset: CocoDataset, weights: LoadedWeights | None) -> None:
    """Report first weights that are another network in training mode than in evaluation mode on these images."""
    model = trainer.model
    if config.model.norm_statistics != "keep" or weights is None or weights.backbone_only:
        return
    assert isinstance(model, RTMDet), "build_trainer made it"
    images = plain_images(
        dataset,
        config.data.input_size,
        spread(range(len(dataset)), AGREEMENT_IMAGES),
        batch_size=min(config.data.batch_size, AGREEMENT_IMAGES),
        device=trainer.stepper.device,
    )
    lacking = lack_statistics(model)
    found = norm_agreement(model, images, frozen=trainer.frozen)
    if found < LEAST_AGREEMENT or lacking:
        what = "hold no statistics" if lacking else "have statistics of other images"
        say(
            f"batch norms: the first weights {what}: training and evaluation mode agree to a correlation of "
            f"{found:.2f} here; --set model.norm_statistics=recalibrate measures them on the training images"
        )


def compare_sizes(weights: LoadedWeights | None, input_size: tuple[int, int]) -> None:
    """Print what a much larger input than that of the first weights' training costs."""
    trained = None if weights is None else weights.trained_size or weights.input_size
    if trained is None:
        return
    ratio = input_size[0] * input_size[1] / (trained[0] * trained[1])
    if ratio >= LARGER_INPUT:
        sides = f"{trained[0]},{trained[1]}" if trained[0] != trained[1] else str(trained[0])
        say(
            f"input {input_size[0]} x {input_size[1]} pixels; the weights were trained at {trained[0]} x {trained[1]}"
            f": --set data.input_size={sides} is about {ratio**TIME_OF_PIXELS:.1f} times faster"
        )


def compare_classes(weights: LoadedWeights | None, classes: Sequence[str]) -> bool:
    """Say how the classes of the first weights and of the data differ; whether the class branch is new."""
    if weights is None:
        return True
    new = new_classes(weights, classes)
    if not new and weights.classes is not None and not set(weights.classes) & set(classes):
        say(
            f"classes: what the weights know as {shortened(weights.classes)} goes on as "
            f"{shortened(classes)}, in this order"
        )
    return len(new) == len(classes)


def first_batch(config: Config, dataset: CocoDataset) -> Batch:
    """The first samples of the run."""
    samples = build_training_samples(config, dataset)
    count = min(BATCH, max(config.data.batch_size, 2))
    return collate([samples[0, place % len(samples)] for place in range(count)])


@torch.no_grad()
def check_first_loss(trainer: Trainer, batch: Batch, precision: str, *, new: bool | None) -> float:
    """The loss of a batch before any step: finite, neither too high nor too low, and of outputs that vary.

    With a `new` class branch the classification loss must be near that of its prior score. None: of a resumed run,
    whose losses have no expected value.
    """
    stepper = trainer.stepper
    batch = batch.to(stepper.device)
    buffers = {name: buffer.clone() for name, buffer in trainer.model.named_buffers()}
    set_training(trainer.model, trainer.frozen)
    with torch.autocast(stepper.device.type, stepper.dtype, enabled=stepper.dtype is not torch.float32):
        outputs = trainer.model(batch.images)
    for name, buffer in trainer.model.named_buffers():
        buffer.copy_(buffers[name])
    losses = stepper.criterion(outputs, batch.targets)
    total = float(losses.total)
    if not math.isfinite(total):
        raise InputError(
            f"the first loss is {total:g} with train.precision {precision}: give other first weights, or float32"
        )
    check_outputs(outputs)
    expected = expected_loss(stepper.criterion, outputs, batch.targets)
    found = float(losses.classification)
    if new and not expected / LOSS_FACTOR <= found <= expected * LOSS_FACTOR:
        raise InputError(
            f"the first classification loss is {found:.3g}, where a new class branch with its prior score of 0.01 "
            f"has about {expected:.3g}: the first weights do not fit this model"
        )
    if new is False and found > expected * LOSS_FACTOR:
        say(
            f"the weights know little of images like these at this size yet (loss {found:.3g}; from scratch it would "
            f"be {expected:.3g}). Normal for another kind of object; otherwise check --weights and the input size"
        )
    if new is False and finds_nothing(losses, expected):
        say(
            f"the weights find no object in the first images, which have {losses.ground_truths} (classification loss "
            f"{found:.3g}; from scratch it would be {expected:.3g}; box loss {float(losses.box):.3g}): they may not "
            "learn; check --weights and the input size"
        )
    return total


def check_outputs(outputs: DenseOutputs) -> None:
    """Refuse a network whose outputs are the same everywhere, whatever it is shown. Raises InputError."""
    logits, distances = output_spread(outputs)
    if min(logits, distances) < LEAST_SPREAD:
        raise InputError(
            f"the network cannot learn: its outputs are the same everywhere in the first images (standard deviation "
            f"of class logits {logits:.1g}, of box distances {distances:.1g} strides; expected at least "
            f"{LEAST_SPREAD:g}): frozen batch norms without trained statistics, or damaged weights; check "
            "model.norm_statistics, model.freeze and --weights"
        )


def set_training(model: nn.Module, frozen: Sequence[nn.Module]) -> None:
    """Training mode, but for the frozen parts."""
    model.train()
    for module in frozen:
        module.eval()
