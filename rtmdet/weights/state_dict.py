"""The tensors of a weights file by mmdet's names, whatever was put around them or how mmyolo names them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.weights.mmyolo import named_as_in_mmdet

WRAPPERS = ("module", "_orig_mod")  # name parts added by parallel training and torch.compile


def read_state_dict(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint or of a bare state_dict, by their plain names. Raises InputError.

    If a file holds only averaged weights, as `ema_state_dict` or in mmengine's wrapper, those are used.
    """
    state = content.get("state_dict", content.get("ema_state_dict", content))
    if not isinstance(state, Mapping) or not state:
        raise InputError(f"{path}: expected tensors under state_dict, found none: save a state_dict there")
    if any(isinstance(name, str) and name.startswith("module.") for name in state):
        state = {name: value for name, value in state.items() if name != "steps"}  # mmengine's update counter
    for name, value in state.items():
        usable = isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
        if not usable or not isinstance(name, str):
            found = type(value).__name__
            if isinstance(value, Tensor) and not usable:  # sparse, or without values
                found = f"one of layout {value.layout} on {value.device.type}"
            raise InputError(
                f"{path}: expected a state_dict of plain tensors, found {found} at {name!r}: save one without it"
            )
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():  # a few bytes, of any shape
            raise InputError(
                f"{path}: expected tensors with all their values, found {name!r} of shape {tuple(value.shape)} in "
                f"{value.untyped_storage().nbytes()} bytes: save it with .contiguous()"
            )
    tensors = named_as_in_mmdet(path, {_plain_name(name): value for name, value in state.items()})
    if len(tensors) < len(state):
        raise InputError(f"{path}: some tensors appear twice, under different prefixes: save only one of them")
    return tensors


def _plain_name(name: str) -> str:
    """A tensor's name without the parts added by parallel training and torch.compile."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
