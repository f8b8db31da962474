"""Opens the data of a configuration and builds its Trainer: model, optimizer and schedule."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rtmdet.config.schema import Config, ModelConfig, TrainingConfig
from rtmdet.core.console import say
from rtmdet.core.distributed import first_on_each_machine, is_main_process, rank, world_size
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.pictures import ValueRange
from rtmdet.core.processes import local_rank, started_processes
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.copies import count_equal
from rtmdet.data.loader import TrainingLoader
from rtmdet.data.samples import TrainingSamples
from rtmdet.deploy.torch_backend import choose_device
from rtmdet.evaluation.coco import crowded_remark
from rtmdet.images.depth import SCALE, describe_flat, describe_outside, describe_pages, describe_shallow, used_ranges
from rtmdet.models.backbone import CSPNeXt
from rtmdet.models.freezing import batch_norms, freeze
from rtmdet.models.rtmdet import RTMDet, build_rtmdet, synchronize_batch_norms
from rtmdet.models.timm_backbone import TimmBackbone, freeze_unused
from rtmdet.models.zoo import SIZES
from rtmdet.runs.folder import stored_text
from rtmdet.runs.provenance import describe_maker
from rtmdet.runs.settings.norm_choice import recalibrate_norms
from rtmdet.runs.validation import Validation, chooses_input_size
from rtmdet.runs.weights_file import learned_before, load_first_weights, starts_from_detector
from rtmdet.training.criterion import Criterion
from rtmdet.training.ema import ExponentialMovingAverage
from rtmdet.training.engine import Plan, Trainer
from rtmdet.training.multi_scale import MultiScale
from rtmdet.training.optim import build_optimizer, learning_rates
from rtmdet.training.step import Stepper
from rtmdet.weights.checkpoint import CheckpointMeta
from rtmdet.weights.load import DETECTOR_PARTS
from rtmdet.weights.timm import load_timm_weights

MOST_STEPS = 20_000_000  # of a run: the learning rates of all are computed beforehand


def training_device(name: str) -> torch.device:
    """The device of this process; with several processes on CUDA, each gets its own GPU. Raises InputError."""
    if started_processes() == 1 or name == "cpu" or not torch.cuda.is_available():
        return choose_device(name)
    if name not in ("auto", "cuda"):
        raise InputError(f"train.device is {name!r}: several processes use one GPU each: give cuda, cpu or auto")
    return choose_device(f"cuda:{local_rank()}")


def check_model_size(config: Config) -> None:
    """Raise InputError for a model size that does not exist; a script may have added its own to SIZES."""
    size = config.model.size
    if size not in SIZES:
        hint = f"; did you mean {size.lower()}?" if size.lower() in SIZES else ""
        raise InputError(f"model.size is {size!r}: expected one of {', '.join(SIZES)}{hint}")


def open_data(config: Config, *, resumed: bool = False) -> tuple[CocoDataset, CocoDataset]:
    """Open the training and the validation images and print a line about each; `resumed`: the copies are known."""
    check_model_size(config)  # before reading takes time
    train = open_split(config, config.data.classes, training=True)
    val = open_split(config, train.classes, training=False)
    say(describe_split("train", train))
    say(describe_split("val", val))
    texts = {remark.removeprefix(f"{config.data.train.annotations}: ") for remark in train.remarks}
    prefix = f"{config.data.val.annotations}: "
    say(*crowded_remark(val.coco, val.category_ids))
    say(*train.remarks, *(remark for remark in val.remarks if remark.removeprefix(prefix) not in texts))
    if is_main_process():
        report_depth(train, config.data.value_range)
    if missing := [name for name, count in zip(train.classes, train.class_counts, strict=True) if not count]:
        say(f"no examples of {shortened(missing)}: they cannot be learned; remove them from data.classes")
    known = resumed or config.data.train == config.data.val  # the only labeled image serves as both
    if not known and is_main_process() and (common := count_equal(dict.fromkeys(train.paths), val.paths)):
        say(f"{common} of {len(val)} validation images are copies of training images: AP will be too high")
    if not resumed and is_main_process():
        say(*learned_before(config, val))
    return train, val


def open_split(config: Config, classes: Sequence[str] | None, *, training: bool) -> CocoDataset:
    """The training data, or that of the validation, checked."""
    split = config.data.train if training else config.data.val
    return CocoDataset(
        Path(split.annotations),
        Path(split.images),
        classes=classes,
        training=training,
        keep_empty=config.data.keep_empty,
        value_range=config.data.value_range,
        tiling=config.data.tiling if training else None,
    )


def report_depth(train: CocoDataset, value_range: ValueRange | None) -> None:
    """Print a warning if 16-bit images would have little contrast, or if a `value_range` does not fit the images."""
    ranges, checked = list(used_ranges(train.few_paths)), len(train.few_paths)
    say(*describe_pages(train.few_paths))
    if value_range is None:
        if flat := describe_flat(ranges, checked):
            text, fitting = flat
            say(f"{text}; " + ("--set data.value_range={},{} scales them".format(*fitting) if fitting else SCALE))
    elif not ranges:
        say("data.value_range has no effect: the checked images have 8 bits per value")
    elif outside := describe_outside(ranges, checked, value_range, "data.value_range"):
        say(outside)
    else:
        say(*describe_shallow(ranges, checked, "data.value_range"))


def describe_split(name: str, dataset: CocoDataset) -> str:
    """One line about a split."""
    windows = f" ({dataset.window_count} of them windows)" if dataset.window_count else ""
    text = f"{name}: {len(dataset)} images{windows}, {dataset.box_count} boxes, classes: {shortened(dataset.classes)}"
    unused = ", ".join(f"{count} {reason}" for reason, count in dataset.unused.items() if count)
    if unused:
        text += f"; not used: {unused}"
    if left_out := len(dataset.coco.imgs) - len(dataset):
        text += f"; {left_out} images without usable boxes skipped (data.keep_empty=true uses those without objects)"
    return text


def build_trainer(
    config: Config, train_data: CocoDataset, val_data: CocoDataset, device: torch.device, *, resumed: bool = False
) -> Trainer:
    """The Trainer of a run. A `resumed` run gets its weights from a checkpoint later, so none are loaded here."""
    train = config.train
    model = build_model(config, train_data.classes, device, first_weights=not resumed).to(device)
    if device.type == "cpu":
        model = model.to(memory_format=torch.channels_last)
    frozen = freeze_parts(model, config)
    if not resumed:
        check_frozen(model, config)
        recalibrate_norms(model, config, train_data, device)
    loader = build_training_loader(config, train_data)
    rate = base_learning_rate(config)
    validation = Validation(config, val_data, device)
    choose = partial(validation.choose_input_size, train_data=train_data) if chooses_input_size(config) else None
    average = ExponentialMovingAverage(model, momentum=train.ema_momentum, gamma=train.ema_gamma)
    return Trainer(
        model,
        stepper=build_stepper(config, model, rate, device),
        learning_rates=build_learning_rates(config, rate, steps=-(-len(loader) // train.accumulate)),
        ema=average if train.ema else None,
        loader=loader,
        evaluate=validation,
        choose_input_size=choose,
        plan=Plan(
            epochs=train.epochs,
            validate_every=train.validate_every,
            dense_validation=train.dense_validation,
            accumulate=train.accumulate,
            patience=train.patience,
            save_every=train.save_every,
            keep_epochs=train.keep_epochs,
        ),
        folder=Path(train.output),
        meta=CheckpointMeta(
            ModelFacts(
                train_data.classes,
                validation.input_size,
                category_ids=train_data.category_ids,
                value_range=config.data.value_range,
                nms=config.evaluation.nms,
                tiling=config.data.tiling,
                size=config.model.size,
                backbone=model.backbone_name,
                config=stored_text(config),
            ),
            trained_size=config.data.input_size,
            made_with="" if resumed else describe_maker(config, device),
        ),
        frozen=frozen,
    )


def freeze_parts(model: RTMDet, config: Config) -> list[nn.Module]:
    """Freeze the parts that the configuration names; returns the modules to keep in evaluation mode."""
    stages: list[nn.Module] = []
    if isinstance(model.backbone, CSPNeXt):  # frozen_stages is refused for other backbones
        stages = model.backbone.freeze(config.model.frozen_stages)
    elif isinstance(model.backbone, TimmBackbone) and (unused := freeze_unused(model.backbone)):
        say(f"backbone: {len(unused)} parameters, such as {unused[0]}, affect no feature map and are frozen")
    frozen = [*stages, *freeze(model, config.model.freeze)]
    return [*frozen, *batch_norms(model)] if config.model.norm_statistics == "freeze" else frozen


def check_frozen(model: RTMDet, config: Config) -> None:
    """Raise InputError if a neck or head that starts from scratch is frozen: it could never learn."""
    settings = config.model
    fixed = [
        name
        for name, parameter in model.named_parameters()
        if name.startswith(DETECTOR_PARTS) and not parameter.requires_grad
    ]
    if not (fixed or settings.norm_statistics != "keep") or starts_from_detector(config):
        return
    why = "there are no weights for them" if settings.weights is None else f"{settings.weights} is a backbone only"
    remedy = "or give the weights of a whole detector as model.weights"
    if settings.norm_statistics != "keep":
        raise InputError(
            f"model.norm_statistics is {settings.norm_statistics}, but neck and head start from scratch ({why}): "
            f"it suits trained layers only; leave it at keep, {remedy}"
        )
    raise InputError(
        f"model.freeze: {', '.join(settings.freeze)} freezes {len(fixed)} parameters of a neck and head that start "
        f"from scratch ({why}), such as {fixed[0]}: freeze parts of the backbone only, {remedy}"
    )


def build_training_loader(config: Config, dataset: CocoDataset) -> TrainingLoader:
    """Batches of augmented samples, this process's share of them."""
    return TrainingLoader(
        build_training_samples(config, dataset),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        rank=rank(),
        world_size=world_size(),
    )


def build_stepper(config: Config, model: RTMDet, rate: float, device: torch.device) -> Stepper:
    """Loss, optimizer and precision of a step."""
    train, factors = config.train, config.augmentation.multi_scale
    optimizer = build_optimizer(
        model,
        learning_rate=rate,
        weight_decay=train.weight_decay,
        faster=model.bbox_head.rtm_cls.parameters(),
        factor=train.class_rate_factor,
    )
    return Stepper(
        wrap(model, config, device),
        criterion=Criterion(model.bbox_head.num_classes),
        optimizer=optimizer,
        device=device,
        precision=train.precision,
        clip_gradient=train.clip_gradient,
        resize=None if factors is None else MultiScale(config.data.input_size, factors, train.seed),
    )


def build_learning_rates(config: Config, rate: float, *, steps: int) -> np.ndarray:
    """The learning rate of every step of the run, with `steps` per epoch."""
    train = config.train
    if train.epochs * steps > MOST_STEPS:
        raise InputError(
            f"train.epochs: {train.epochs} epochs of {steps} steps are {train.epochs * steps}, expected at most "
            f"{MOST_STEPS}: give fewer epochs"
        )
    return learning_rates(
        epochs=train.epochs,
        iterations=steps,
        base=rate,
        warmup=train.warmup_iterations,
        warmup_start=train.warmup_start,
        cosine_start=cosine_start(train),
        final_factor=train.final_factor,
    )


def cosine_start(train: TrainingConfig) -> int:
    """The epoch in which the cosine begins.

    Differs from mmdet: the minimum is at the end also with an odd number of epochs, not before it.
    """
    return train.epochs // 2 if train.cosine_start is None else train.cosine_start


def wrap(model: nn.Module, config: Config, device: torch.device) -> nn.Module:
    """The network that training calls: the model, compiled and wrapped in DDP if needed."""
    network: nn.Module = torch.compile(model) if config.train.compile else model  # type: ignore[assignment]
    if world_size() == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def base_learning_rate(config: Config) -> float:
    """The configured learning rate, scaled to the images per step if configured."""
    rate = config.train.learning_rate
    if not config.train.scale_learning_rate:
        return rate
    images = config.data.batch_size * config.train.accumulate * world_size()
    scaled = rate * images / 256  # the linear scaling rule: the published rate belongs to steps of 256 images
    say(f"learning rate {rate:g} x {images} / 256 = {scaled:g}")
    return scaled


def build_model(config: Config, classes: Sequence[str], device: torch.device, *, first_weights: bool) -> RTMDet:
    """The model, with its initial weights unless `first_weights` is false; the same on every process."""
    if first_weights:
        model = first_on_each_machine(partial(model_with_weights, config.model, classes))  # may download them
    else:  # the checkpoint is loaded later
        model = build_rtmdet(config.model.size, len(classes), backbone=config.model.backbone)
    if world_size() > 1 and device.type == "cuda" and config.train.sync_batch_norm:
        return synchronize_batch_norms(model)
    return model


def model_with_weights(settings: ModelConfig, classes: Sequence[str]) -> RTMDet:
    """The model with its initial weights, or from scratch; prints which."""
    local = settings.weights is not None or settings.backbone_weights is not None
    pretrained = settings.backbone_pretrained and not local
    model = build_rtmdet(settings.size, len(classes), backbone=settings.backbone, pretrained=pretrained)
    if settings.weights is not None:
        load_first_weights(model, settings.weights, classes)
    elif settings.backbone_weights is not None:
        assert isinstance(model.backbone, TimmBackbone), "the configuration refuses others"
        say(load_timm_weights(model.backbone, Path(settings.backbone_weights)))
    elif settings.backbone is not None and pretrained:
        say(f"weights: timm's for {settings.backbone}; neck and head start from scratch")
    else:
        say("weights: none, training starts from scratch")
    return model


def build_training_samples(config: Config, dataset: CocoDataset) -> TrainingSamples:
    """Training samples with the configured augmentation."""
    augmentation = config.augmentation
    return TrainingSamples(
        dataset,
        input_size=config.data.input_size,
        seed=config.train.seed,
        stage2_start=config.stage2_start,
        use_mosaic=augmentation.mosaic,
        mosaic_cache=augmentation.mosaic_cache,
        mixup_probability=augmentation.mixup_probability,
        mixup_cache=augmentation.mixup_cache,
        resize_range=augmentation.resize_range,
        hsv=augmentation.hsv,
        flip_probability=augmentation.flip_probability,
        extra=[(transform.name, transform.parameters) for transform in augmentation.extra],
        keep_empty=config.data.keep_empty,
        repeat_threshold=config.data.repeat_threshold,
    )
