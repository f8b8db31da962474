"""The check before the first step of every run: data, classes, geometry and first loss, in seconds."""

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
from rtmdet.evaluation.coco import metric_text
from rtmdet.models.norm_statistics import lack_statistics
from rtmdet.models.rtmdet import RTMDet
from rtmdet.runs.build_trainer import build_training_samples
from rtmdet.runs.first_weights import AGREEMENT_IMAGES, LEAST_AGREEMENT, MODES, norm_agreement
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

IMAGES = 200  # evaluated at most
BOXES = 100  # per image at most: COCO counts no more detections
HEADERS = 1000  # images per split whose size is checked, at most
BATCH = 4  # images of the forward pass
EXACT, USABLE = 0.995, 0.5  # AP of the ground truth: reported below the first, refused below the second
LARGER_INPUT = 1.5  # reported from this many times the pixels that the weights were trained with
TIME_OF_PIXELS = 0.9  # exponent: small inputs use the hardware less efficiently
MOST_WITHOUT_PRIOR = 0.01  # share of boxes; above it, a larger input is recommended


def check_start(
    config: Config, trainer: Trainer, train_data: CocoDataset, val_data: CocoDataset, *, resumed: bool
) -> None:
    """Report what is unusual, and raise InputError for what cannot be learned or measured.

    A `resumed` run skips the checks of its initial weights. Neither weights nor random states change.
    """
    device = trainer.stepper.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout in a backbone draws numbers
        _check_start(config, trainer, train_data, val_data, resumed=resumed)


def _check_start(
    config: Config, trainer: Trainer, train_data: CocoDataset, val_data: CocoDataset, *, resumed: bool
) -> None:
    input_size = config.data.input_size
    for dataset in (train_data, val_data) if is_main_process() else ():
        check_sizes(dataset)
    ap = check_labels(val_data, input_size)
    lost = report_small_boxes(train_data, input_size)
    new = None
    if not resumed:
        weights = read_first_weights(config)
        report_larger_input(weights, input_size)
        report_norms(config, trainer, train_data, weights)
        new = report_classes(weights, train_data.classes)
    batch = gather(first_batch(config, train_data) if is_main_process() else None)[0]
    assert batch is not None, "the main process has one"
    loss = check_first_loss(trainer, batch, config.train.precision, new=new)
    say(
        "start check passed: your labels, scored as if they were detections, reach AP "
        f"{metric_text(ap)}; boxes too small to be matched: {lost:.1%}; first loss {loss:.2f}"
    )


def check_sizes(dataset: CocoDataset) -> None:
    """Raise InputError for images whose size differs from the annotation file.

    Of more than HEADERS images only some are checked, evenly spread over the file.
    """
    step = -(-len(dataset) // HEADERS)
    for index in range(0, len(dataset), step):
        dataset.check_size(index)


def check_labels(dataset: CocoDataset, input_size: tuple[int, int]) -> float:
    """Pass the ground truth through encoding, decoding and evaluation; returns its AP. Raises InputError."""
    images = [target_of(dataset, index, most=BOXES) for index in range(min(IMAGES, len(dataset)))]
    index = index_of(dataset, [meta for meta, _ in images], most=BOXES)
    ap = ground_truth_ap(index, dataset.category_ids, images[rank() :: world_size()], input_size)
    if -1 < ap < USABLE:
        raise InputError(
            f"the validation labels, scored as if they were detections, reach AP {ap:.3f}, expected 1: boxes lie "
            "outside of their images, or ids are mixed up: look with rtmdet data show"
        )
    if -1 < ap < EXACT:
        say(
            f"the validation labels, scored as if they were detections, reach AP {ap:.3f} instead of 1: some boxes "
            "extend beyond their images"
        )
    return ap


def target_of(dataset: CocoDataset, index: int, most: int | None = None) -> tuple[ImageMeta, Target]:
    """The ground truth of an image in its own pixels, or the first `most` objects."""
    meta, truth = dataset.truth(index)
    return meta, Target(torch.from_numpy(truth.boxes[:most]), torch.from_numpy(truth.labels[:most]))


def index_of(dataset: CocoDataset, metas: Sequence[ImageMeta], most: int | None = None) -> COCO:
    """A COCO index of these images with the annotations that are used, or the first `most` of each."""
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


def report_small_boxes(dataset: CocoDataset, input_size: tuple[int, int]) -> float:
    """The share 0 .. 1 of training boxes too small to be matched at this input size; prints a line if many are."""
    images = [target_of(dataset, index) for index in range(len(dataset))]
    boxes = torch.cat(
        [Letterbox.fit(meta.original_size, input_size).to_input(target.boxes) for meta, target in images]
    )
    lost = without_prior(boxes, input_size)
    if lost > MOST_WITHOUT_PRIOR * len(boxes):
        height, width = input_size
        say(
            f"{lost} of {len(boxes)} training boxes are too small at {height} x {width} pixels to be matched: use a "
            "larger data.input_size (rtmdet data check suggests one)"
        )
    return lost / len(boxes)


def report_norms(config: Config, trainer: Trainer, dataset: CocoDataset, weights: LoadedWeights | None) -> None:
    """Print a line if the batch-norm statistics of the initial weights do not fit these images."""
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
        what = "have no running statistics" if lacking else "have statistics that do not fit these images"
        say(
            f"the batch norms of the weights {what} ({MODES} {found:.2f}): to measure them on the training images, "
            "--set model.norm_statistics=recalibrate"
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
            f"input {input_size[0]} x {input_size[1]} pixels; the weights were trained at {trained[0]} x {trained[1]}"
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
    return collate([samples[0, place % len(samples)] for place in range(count)])


@torch.no_grad()
def check_first_loss(trainer: Trainer, batch: Batch, precision: str, *, new: bool | None) -> float:
    """Check loss and outputs of a batch before any step; returns the loss. Raises InputError.

    `new`: the class layers start from scratch, so that their loss is known; None: resumed, nothing is expected.
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
            f"the first loss is {total:g} with train.precision {precision}: use float32, or other weights"
        )
    check_outputs(outputs)
    expected = expected_loss(stepper.criterion, outputs, batch.targets)
    found = float(losses.classification)
    if new and not expected / LOSS_FACTOR <= found <= expected * LOSS_FACTOR:
        raise InputError(
            f"the first classification loss is {found:.3g}, expected about {expected:.3g} for class layers that "
            "start from scratch: the weights do not fit this model"
        )
    if new is False and found > expected * LOSS_FACTOR:
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


def check_outputs(outputs: DenseOutputs) -> None:
    """Raise InputError for a network whose outputs are the same everywhere, whatever the image."""
    logits, distances = output_spread(outputs)
    if min(logits, distances) < LEAST_SPREAD:
        raise InputError(
            f"the network cannot learn: its outputs are the same everywhere in the first images (standard deviation "
            f"of class logits {logits:.1g}, of box distances {distances:.1g} strides; expected at least "
            f"{LEAST_SPREAD:g}): frozen batch norms without trained statistics, or damaged weights; check "
            "model.norm_statistics, model.freeze and --weights"
        )


def set_training(model: nn.Module, frozen: Sequence[nn.Module]) -> None:
    """Training mode, except for frozen parts."""
    model.train()
    for module in frozen:
        module.eval()
