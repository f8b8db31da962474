"""The tensors of a weights file by mmdet's names, whatever was put around them or how mmyolo names them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.wording import shortened
from rtmdet.core.wrappers import WRAPPERS
from rtmdet.weights.mmyolo import named_as_in_mmdet
from rtmdet.weights.openmmlab import ROOTS

ENTRIES = ("state_dict", "ema_state_dict", "model_state_dict", "model", "ema", "weights")  # the first one is taken
COUNTERS = ("steps", "n_averaged")  # beside averaged weights: of mmengine, of torch's AveragedModel


def find_entry(content: Mapping[Any, Any], path: Path) -> str:
    """The name of the entry of a checkpoint that holds the weights; empty for a bare state_dict.

    Raises InputError if they are only below other names.
    """
    entries = [str(name) for name, value in content.items() if name in ENTRIES[:2] or _is_state_dict(value)]
    if not entries:
        return ""
    for name in ENTRIES:
        if name in entries:
            return name
    raise InputError(
        f"{path}: expected weights under state_dict, found tensors under {shortened(entries, 5)}: save those of the "
        "detector alone, or under state_dict"
    )


def _is_state_dict(value: object) -> bool:
    """Whether it is a mapping of names, such as conv.weight, to tensors."""
    return (
        isinstance(value, Mapping)
        and any("." in str(name) for name in value)
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )


def read_state_dict(state: object, path: Path) -> dict[str, Tensor]:
    """The tensors of a state_dict by their plain names. Raises InputError."""
    if not isinstance(state, Mapping) or not state:
        raise InputError(f"{path}: expected tensors under state_dict, found none: save a state_dict there")
    if any(isinstance(name, str) and name.startswith("module.") for name in state):
        state = {name: value for name, value in state.items() if name not in COUNTERS}
    for name, value in state.items():
        usable = isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
        if not usable or not isinstance(name, str):
            found = type(value).__name__
            if isinstance(value, Tensor) and not usable:  # sparse, or without values
                found = f"one of layout {value.layout} on {value.device.type}"
            raise InputError(
                f"{path}: expected a state_dict of plain tensors, found {found} at {name!r}: save that of the "
                "detector alone"
            )
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():  # a few bytes, of any shape
            raise InputError(
                f"{path}: expected tensors with all their values, found {name!r} of shape {tuple(value.shape)} in "
                f"{value.untyped_storage().nbytes()} bytes: save it with .contiguous()"
            )
    plain = _without_owner({_plain_name(name): value for name, value in state.items()})
    tensors = named_as_in_mmdet(path, plain)
    if len(tensors) < len(state):
        raise InputError(f"{path}: some tensors appear twice, under different prefixes: save only one of them")
    return tensors


def _plain_name(name: str) -> str:
    """A tensor's name without the parts added by parallel training and torch.compile."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _without_owner(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a detector by its names if all of a file are those of one, as of a LightningModule's `model`."""
    inner = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
    alone = len({name.partition(".")[0] for name in tensors}) == 1
    return inner if alone and all(name.startswith(ROOTS) for name in inner) else tensors
