"""Our own checkpoints: the weights with what their use needs, and optionally all that a resumed training needs.

The layout, which OpenMMLab's tools read too and torch.load(weights_only=True) reads whole:
    state_dict  averaged (EMA) weights
    meta        format, epoch, iteration, config, dataset_meta: {classes},
                model: {size, num_classes, input_size}
    training    optional: the fields of TrainingState
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtmdet.structures import InputError
from rtmdet.unpickling import read_pickled

FORMAT = "plain-rtmdet/1"


@dataclass(frozen=True, slots=True)
class CheckpointMeta:
    """What shapes the numbers beside the weights, and where in the training they were taken."""

    classes: tuple[str, ...]
    size: str  # a key of zoo.SIZES
    input_size: tuple[int, int]  # (H, W) of the network's input
    config: str = ""  # the resolved configuration as YAML
    epoch: int = 0  # finished epochs
    iteration: int = 0  # finished iterations


@dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """What a resumed training needs beside the averaged weights."""

    model: dict[str, Tensor]  # the weights that the optimizer works on
    optimizer: dict[str, Any]  # the optimizer's own state_dict
    ema_updates: int
    iteration: int  # finished iterations
    epoch: int  # finished epochs
    best_ap: float
    torch_rng: Tensor  # (n,) uint8, torch.get_rng_state()


def save_checkpoint(
    path: Path, *, model_state: Mapping[str, Tensor], meta: CheckpointMeta, training: TrainingState | None = None
) -> None:
    """Write a checkpoint; until it is whole, the previous file of that name stays.

    Raises InputError where the file cannot be written, for instance on a full disk.
    """
    content: dict[str, object] = {"state_dict": dict(model_state), "meta": _meta_to_dict(meta)}
    if training is not None:
        content["training"] = {field.name: getattr(training, field.name) for field in fields(training)}
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch hides a failed write in a RuntimeError
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        previous = ", the previous file is kept" if path.is_file() else ""
        raise InputError(f"{path}: the checkpoint cannot be written ({_one_line(reason)}){previous}") from error
    finally:
        with contextlib.suppress(OSError):  # nothing to remove: finished, or never begun
            part.unlink()


def read_training_checkpoint(path: Path) -> tuple[dict[str, Tensor], CheckpointMeta, TrainingState]:
    """The averaged weights, what belongs to them, and the state to resume training from.

    Raises InputError where the file is damaged, is not ours, or holds weights only.
    """
    content = read_pickled(path)
    if not isinstance(content, dict) or not is_ours(content):
        raise InputError(f"{path}: expected a checkpoint of {FORMAT}, found another file: give it as weights")
    meta = parse_meta(content["meta"], path)
    training, state = content.get("training"), content.get("state_dict")
    if not isinstance(training, dict) or not isinstance(state, dict):
        raise InputError(f"{path}: holds weights but no training state: resume from last.pth")
    missing = [field.name for field in fields(TrainingState) if field.name not in training]
    if missing:
        raise InputError(f"{path}: the training state lacks {', '.join(missing)}: resume from another file")
    return state, meta, TrainingState(**{field.name: training[field.name] for field in fields(TrainingState)})


def is_ours(content: Mapping[Any, Any]) -> bool:
    """Whether the content of a file is a checkpoint of this package."""
    meta = content.get("meta")
    return isinstance(meta, dict) and meta.get("format") == FORMAT


def parse_meta(meta: Mapping[str, Any], path: Path) -> CheckpointMeta:
    """The `meta` of one of our checkpoints; raises InputError where a part is missing or of another type."""
    try:
        model = meta["model"]
        height, width = (int(side) for side in model["input_size"])
        classes = tuple(str(name) for name in meta["dataset_meta"]["classes"])
        return CheckpointMeta(
            classes=classes,
            size=str(model["size"]),
            input_size=(height, width),
            config=str(meta["config"]),
            epoch=int(meta["epoch"]),
            iteration=int(meta["iteration"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: `meta` of the checkpoint is damaged: {type(error).__name__} {error}") from error


def _meta_to_dict(meta: CheckpointMeta) -> dict[str, object]:
    model = {"size": meta.size, "num_classes": len(meta.classes), "input_size": list(meta.input_size)}
    return {
        "format": FORMAT,
        "dataset_meta": {"classes": list(meta.classes)},
        "model": model,
        "config": meta.config,
        "epoch": meta.epoch,
        "iteration": meta.iteration,
    }


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
