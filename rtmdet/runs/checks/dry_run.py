"""The start check of a run without the run, and a test whether its model can overfit a few boxes."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from rtmdet.config.schema import Config
from rtmdet.core.backend import Selection
from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.postprocess import postprocess
from rtmdet.core.wording import named_as_given
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.evaluation.coco import CocoEvaluator
from rtmdet.measuring.measure import letterboxes_of
from rtmdet.models.freezing import set_training
from rtmdet.models.head import RTMDetHead
from rtmdet.runs.build import build_model, build_stepper, build_trainer, freeze_parts, open_data, training_device
from rtmdet.runs.checks.label_check import index_of
from rtmdet.runs.checks.start_check import check_start
from rtmdet.runs.options import RunOptions
from rtmdet.runs.settings.norm_choice import recalibrate_norms
from rtmdet.runs.settings.own_data import OwnData
from rtmdet.runs.settings.plain_images import plain_batches
from rtmdet.runs.train import read_configuration
from rtmdet.runs.weights_file import starts_from_detector

OVERFIT_SIDE = 320  # pixels of the square input
OVERFIT_BOXES = 8  # at most, in all images together; if each has more, those of the image with the fewest
OVERFIT_AP50 = 0.99
OVERFIT_STEPS = 400  # at most
OVERFIT_RATE = 2e-3
FIRST_DISTANCE = 3.0  # strides
SMALLEST_SIDE = 8  # pixels of the input; smaller boxes may hold no prior
CHECK_EVERY = 20  # steps


def dry_run(options: RunOptions, *, overfits: bool = False) -> bool:
    """Run the start check without writing anything; with `overfits` also try to overfit a few boxes.

    Returns False if the boxes were not overfit. Raises InputError where the run would.
    """
    if options.data is None:
        return check_run(read_configuration(options), overfits=overfits)
    with TemporaryDirectory() as folder:  # for converted annotations, to leave the run's folder untouched
        copies = {split: str(Path(folder) / "data" / f"{split}.json") for split in ("train", "val")}
        with named_as_given({copy: f"the {split} split of {options.data}" for split, copy in copies.items()}):
            return check_run(OwnData.open(options, Path(folder)).configure(), overfits=overfits)


def check_run(config: Config, *, overfits: bool) -> bool:
    """The start check, and with `overfits` the overfitting test."""
    torch.manual_seed(config.train.seed)
    device = training_device(config.train.device)
    train_data, val_data = open_data(config)
    trainer = build_trainer(config, train_data, val_data, device)
    check_start(config, trainer, train_data, val_data, resumed=False)
    return overfit(config, train_data, device) if overfits else True


def overfit(config: Config, dataset: CocoDataset, device: torch.device) -> bool:
    """Overfit one batch: if model, loss and data fail here, training cannot work. Returns whether it succeeded."""
    indices = few_boxes(dataset)
    size = (OVERFIT_SIDE, OVERFIT_SIDE)
    (batch,) = plain_batches(dataset, size, indices, batch_size=len(indices))
    batch = batch.to(device)
    model = build_model(config, dataset.classes, device, first_weights=True).to(device)
    if not starts_from_detector(config):
        spread_boxes(model.bbox_head)
    frozen = freeze_parts(model, config)
    recalibrate_norms(model, config, dataset, device)
    plain = replace(config.train, class_rate_factor=1.0, precision="float32", compile=False)
    fixed = replace(config.augmentation, multi_scale=None)  # it is judged at this size
    config = replace(config, train=plain, augmentation=fixed)
    stepper = build_stepper(config, model, OVERFIT_RATE, device)
    index = index_of(dataset, batch.metas)
    boxes = sum(len(target.labels) for target in batch.targets)
    set_training(model, frozen)
    began = time.perf_counter()
    for step in range(1, OVERFIT_STEPS + 1):
        stepper([batch], iteration=step, learning_rate=OVERFIT_RATE)
        if step % CHECK_EVERY:
            continue
        evaluator = CocoEvaluator(index, dataset.category_ids)
        with torch.no_grad():  # training mode: batch norms see the batch that they learn from
            outputs = model(batch.images)
        found = postprocess(outputs, Selection(), input_size=size, letterboxes=letterboxes_of(batch))
        evaluator.add(batch.metas, found)
        ap50 = evaluator.evaluate().numbers[1]
        if ap50 >= OVERFIT_AP50:
            break
    seconds = time.perf_counter() - began
    say(f"overfit: {boxes} boxes of {len(indices)} images, AP50 {ap50:.3f} after {step} steps, {seconds:.0f} s")
    if ap50 < OVERFIT_AP50:
        say("the model could not overfit these boxes: look at them with rtmdet data show, and check --weights")
        return False
    return True


def few_boxes(dataset: CocoDataset) -> Sequence[int]:
    """Few images with at most OVERFIT_BOXES boxes together, none of them tiny; two or more images if possible.

    Without any, the image with the fewest. Raises InputError if no image is suitable.
    """
    counts: dict[int, int] = {}
    for index in range(len(dataset)):
        meta, truth = dataset.truth(index)
        boxes = Letterbox.fit(meta.original_size, (OVERFIT_SIDE, OVERFIT_SIDE)).to_input(truth.boxes)
        sides = boxes[:, 2:] - boxes[:, :2]
        if len(boxes) and bool((sides >= SMALLEST_SIDE).all()):
            counts[index] = len(boxes)
    if not counts:
        raise InputError(
            f"--overfit: expected an image whose boxes all have at least {SMALLEST_SIDE} pixels at {OVERFIT_SIDE} x "
            f"{OVERFIT_SIDE}, found none; leave --overfit out"
        )
    chosen: list[int] = []
    left = OVERFIT_BOXES
    for index, count in sorted(counts.items(), key=lambda item: (item[1] > OVERFIT_BOXES // 2, -item[1])):
        if count <= left:
            chosen.append(index)
            left -= count
    return chosen or [min(counts, key=lambda index: counts[index])]


def spread_boxes(head: RTMDetHead) -> None:
    """Let an untrained box branch start with boxes of some size instead of points."""
    # A predicted box that does not overlap its object gets no gradient. The variety of images in a run resolves that;
    # a single batch that never changes may not.
    distance = math.log(FIRST_DISTANCE) if head.exponential else FIRST_DISTANCE
    for conv in head.rtm_reg:
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        nn.init.constant_(conv.bias, distance)
