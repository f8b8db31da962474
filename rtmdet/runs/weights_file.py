"""The file of the initial weights of a run: cached, because several parts of a run read it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from rtmdet.config.recipe import Start
from rtmdet.config.schema import Config, ModelConfig
from rtmdet.core.console import say
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.measuring.ground_truth import trained_on
from rtmdet.models.rtmdet import RTMDet, build_rtmdet, network_inside
from rtmdet.weights.download import resolve
from rtmdet.weights.load import LoadedWeights, keep_known_classes, load_weights, read_checkpoint


def read_weights(name: str) -> LoadedWeights:
    """The weights of a published name or a path; cached until the file changes, so do not modify them.

    Raises InputError if there is no such file, or it holds no weights.
    """
    path = resolve(name, progress=True)
    if not path.is_file():
        return read_checkpoint(path)  # raises InputError
    state = path.stat()
    return _read(path, path.resolve(), state.st_mtime_ns, state.st_size)


def read_first_weights(config: Config) -> LoadedWeights | None:
    """The file of model.weights; None without one. Raises InputError."""
    name = config.model.weights
    return None if name is None else read_weights(name)


def starts_from_detector(config: Config) -> bool:
    """Whether the initial weights include neck and head; otherwise these start from scratch."""
    return start_of(read_first_weights(config), config.model) == "detector"


def load_first_weights(model: RTMDet, name: str, classes: Sequence[str]) -> None:
    """Load a checkpoint; classes that it knows by name keep what it learned about them. `model` may be wrapped.

    Differs from mmdet: that loads class layers by position, and only for an equal number of classes.
    """
    model, weights = network_inside(model), read_weights(name)
    report = load_weights(model, weights)
    known = keep_known_classes(model, weights, classes)
    say(replace(report, kept_classes=len(known)).summary)
    if known and weights.classes != tuple(classes):
        new = len(classes) - len(known)
        say(f"classes: {shortened(known)} known to the weights and kept, {new} new")


def learned_before(config: Config, val_data: CocoDataset) -> list[str]:
    """A line if the initial weights learned from some of the validation images."""
    weights = read_first_weights(config)
    if weights is None or not (common := trained_on(weights.facts.config, weights.path, val_data)):
        return []
    seen = f"{weights.path} learned from {common} of the {len(val_data)} validation images"
    return [f"{seen}: AP will be too high; split the images once (rtmdet data split), add new ones to train.json"]


def build_detector(
    weights: LoadedWeights, settings: ModelConfig, classes: Sequence[str], device: torch.device
) -> RTMDet:
    """The run's model in evaluation mode with these weights and their number of classes, to measure it on images."""
    with torch.random.fork_rng(devices=[]):  # the run draws its own initial weights
        model = build_rtmdet(settings.size, weights.num_classes or len(classes), backbone=settings.backbone)
    load_weights(model, weights)
    return model.eval().to(device).to(memory_format=torch.channels_last)


def start_of(weights: LoadedWeights | None, settings: ModelConfig) -> Start:
    """What the initial weights hold; `weights` are those of model.weights, None if there are none."""
    if weights is not None and not weights.backbone_only:
        return "detector"
    return "backbone" if settings.backbone_is_trained else "nothing"


def forget_weights() -> None:
    """Empty the cache, which frees the memory."""
    _read.cache_clear()


@lru_cache(maxsize=1)
def _read(path: Path, *_: object) -> LoadedWeights:
    return read_checkpoint(path)
