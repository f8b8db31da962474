"""`rtmdet train`: a configuration -> data, model, optimiser, loop. The wiring, from top to bottom."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from rtmdet.checkpoint import CheckpointMeta
from rtmdet.cli.measure import detect_all
from rtmdet.cli.progress import TrainingBar
from rtmdet.config import Config, SplitConfig
from rtmdet.config_file import dump_config, load_config
from rtmdet.data.coco import CocoDataset
from rtmdet.data.loader import EvaluationLoader, TrainingLoader
from rtmdet.data.pipelines import EvaluationSamples, TrainingSamples
from rtmdet.detector import choose_device
from rtmdet.download import resolve
from rtmdet.evaluation import CocoMetrics
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.openmmlab import load_weights, read_checkpoint
from rtmdet.structures import InputError
from rtmdet.training.criterion import Criterion
from rtmdet.training.ema import ExponentialMovingAverage
from rtmdet.training.engine import Plan, Trainer
from rtmdet.training.log import RunLog
from rtmdet.training.optim import build_optimizer, learning_rates, scaled_learning_rate
from rtmdet.viz.curves import CurvePicture


def run(arguments: argparse.Namespace) -> int:
    """Train as the configuration says; returns 0."""
    config = load_config(arguments.config, arguments.overrides)
    torch.manual_seed(config.train.seed)
    train_data, val_data = open_data(config)
    trainer = build_trainer(config, train_data, val_data)
    folder = Path(config.train.output)
    if arguments.resume:
        trainer.resume(folder / "last.pth")
        print(f"resumed after epoch {trainer.epoch} of {config.train.epochs}")
    prepare_folder(folder, config, resumed=arguments.resume)
    log = RunLog(folder, log_every=config.train.log_every, keep_until=trainer.iteration)
    bar = TrainingBar(epochs=config.train.epochs, iterations=len(trainer.loader), done=trainer.iteration)
    curves = CurvePicture(log.path, folder / "curves.png")
    trainer.observers = [log, bar, curves]
    try:
        trainer.run()
    finally:
        bar.close()
    print(f"best AP {trainer.best_ap:.3f}: {folder / 'best.pth'}; curves: {curves.picture}; log: {log.path}")
    return 0


def open_data(config: Config) -> tuple[CocoDataset, CocoDataset]:
    """The training and the validation images, with a line about each."""
    train = open_split(config.data.train, config, training=True)
    val = open_split(config.data.val, config, training=False)
    check_classes(train, val)
    print(describe("train", train), describe("val", val), sep="\n")
    return train, val


def build_trainer(config: Config, train_data: CocoDataset, val_data: CocoDataset) -> Trainer:
    """Model, loaders, optimiser and schedule, joined."""
    train, data, device = config.train, config.data, choose_device(config.train.device)
    model = build_model(config, len(train_data.classes)).to(device)
    if device.type == "cpu":
        model = model.to(memory_format=torch.channels_last)
    frozen = model.backbone.freeze(config.model.frozen_stages)
    samples = build_training_samples(config, train_data)
    loader = TrainingLoader(samples, batch_size=data.batch_size, workers=data.workers)
    val_samples = EvaluationSamples(val_data, input_size=data.input_size)
    val_loader = EvaluationLoader(val_samples, batch_size=data.batch_size, workers=data.workers)

    def evaluate(averaged: nn.Module) -> CocoMetrics:
        return detect_all(averaged, val_data, val_loader, settings=config.evaluation, device=device).evaluate()

    rate = base_learning_rate(config)
    return Trainer(
        model,
        criterion=Criterion(len(train_data.classes)),
        optimizer=build_optimizer(model, learning_rate=rate, weight_decay=train.weight_decay),
        learning_rates=learning_rates(
            epochs=train.epochs,
            iterations=len(loader),
            base=rate,
            warmup=train.warmup_iterations,
            warmup_start=train.warmup_start,
            # Differs from mmdet: with an odd number of epochs, too, the minimum is at the end, not before it.
            cosine_start=train.epochs // 2 if train.cosine_start is None else train.cosine_start,
            final_factor=train.final_factor,
        ),
        ema=ExponentialMovingAverage(model, momentum=train.ema_momentum, gamma=train.ema_gamma),
        loader=loader,
        evaluate=evaluate,
        plan=Plan(train.epochs, train.validate_every, train.dense_validation, train.clip_gradient),
        folder=Path(train.output),
        meta=CheckpointMeta(train_data.classes, config.model.size, data.input_size, config=dump_config(config)),
        device=device,
        frozen=frozen,
    )


def base_learning_rate(config: Config) -> float:
    """The configured rate; scaled to the batch size only where the configuration asks for it."""
    rate = config.train.learning_rate
    if not config.train.scale_learning_rate:
        return rate
    scaled = scaled_learning_rate(rate, config.data.batch_size)
    print(f"learning rate {rate:g} x {config.data.batch_size} / 256 = {scaled:g}")
    return scaled


def open_split(split: SplitConfig, config: Config, *, training: bool) -> CocoDataset:
    """The data set of one split, checked."""
    return CocoDataset(
        Path(split.annotations),
        Path(split.images),
        classes=config.data.classes,
        training=training,
        keep_empty=config.data.keep_empty,
    )


def check_classes(train: CocoDataset, val: CocoDataset) -> None:
    """Refuse splits whose classes differ: their labels would mean different things."""
    if train.classes != val.classes:
        raise InputError(
            f"train and val have different classes: {', '.join(train.classes)} against {', '.join(val.classes)}: "
            "give data.classes, or files with the same categories"
        )


def describe(name: str, dataset: CocoDataset) -> str:
    """One line about a split."""
    classes = ", ".join(dataset.classes[:8]) + (" ..." if len(dataset.classes) > 8 else "")
    return f"{name}: {len(dataset)} images, {dataset.box_count} boxes, classes: {classes}"


def build_model(config: Config, num_classes: int) -> RTMDet:
    """The model with its first weights."""
    model = build_rtmdet(config.model.size, num_classes)
    if config.model.weights is None:
        print("weights: random initialisation")
    else:
        print(load_weights(model, read_checkpoint(resolve(config.model.weights, progress=True))).summary)
    return model


def build_training_samples(config: Config, dataset: CocoDataset) -> TrainingSamples:
    """The augmentation that the configuration describes."""
    augmentation = config.augmentation
    return TrainingSamples(
        dataset,
        input_size=config.data.input_size,
        seed=config.train.seed,
        stage2_start=max(config.train.epochs - augmentation.stage2_epochs, 0),
        use_mosaic=augmentation.mosaic,
        mosaic_cache=augmentation.mosaic_cache,
        mixup_probability=augmentation.mixup_probability,
        mixup_cache=augmentation.mixup_cache,
        resize_range=augmentation.resize_range,
        hsv=augmentation.hsv,
        flip_probability=augmentation.flip_probability,
        extra=[(transform.name, transform.parameters) for transform in augmentation.extra],
        keep_empty=config.data.keep_empty,
    )


def prepare_folder(folder: Path, config: Config, *, resumed: bool) -> None:
    """Make the run's folder with its resolved configuration; an earlier run in it is not overwritten unasked."""
    if not resumed and (folder / "last.pth").exists():
        raise InputError(f"{folder} holds a run already: go on with --resume, or give another --set train.output=...")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(dump_config(config))
    except OSError as error:
        raise InputError(f"output folder {folder} cannot be written: {error}") from error
