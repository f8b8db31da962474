"""ImageNet weights from a local file into a timm backbone: by name, or by order if the names are not timm's.

Most files use timm's names. Other libraries store the same network under other names; then tensors are matched by
their order in the file, and every shape and kind (weight, bias, running_mean, ...) must agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.models.outline import outlines
from rtmdet.models.timm_backbone import PREFIX, TimmBackbone
from rtmdet.weights.load import read_checkpoint
from rtmdet.weights.network_size import is_counter


@dataclass(frozen=True, slots=True)
class WholeModel:
    """The tensors of a timm classifier in order, and which of them its backbone keeps."""

    shapes: dict[str, tuple[int, ...]]  # of the whole model, without counters
    kept: dict[str, str]  # name here -> name in the backbone
    classifier: tuple[str, ...]  # prefixes of layers whose number of classes may differ


def load_timm_weights(backbone: TimmBackbone, path: Path) -> str:
    """Copy the weights of a .pth, .pt or .safetensors file into a backbone; returns one line for the user.

    The classifier and other parts that the backbone does not use may be missing. Raises InputError, with the
    backbone unchanged, for a file that cannot be read or does not hold exactly this model's weights.
    """
    weights = read_checkpoint(path)
    if not weights.backbone_only:
        raise InputError(
            f"{path}: expected the weights of {backbone.name}, found a whole detector: give it as model.weights"
        )
    found = {name: tensor for name, tensor in weights.tensors.items() if not is_counter(name)}
    whole = _whole_model(backbone)
    by_name = _fits_by_name(found, whole)
    names = list(found) if by_name else _match_in_order(found, whole, backbone.name, path)
    tensors = dict(zip(names, found.values(), strict=False))
    _check_values(tensors, path)
    state = {kept: tensors[name] for name, kept in whole.kept.items()}
    left = backbone.features.load_state_dict(state, strict=False)
    assert all(map(is_counter, left.missing_keys)), left
    assert not left.unexpected_keys, left
    how = "by name" if by_name else "in the order of the file, because its names are not timm's"
    return (
        f"{weights.file}: {len(state)} tensors loaded into {backbone.name} {how}; {len(found) - len(state)} tensors "
        "of the classifier skipped; neck and head start from scratch"
    )


def _whole_model(backbone: TimmBackbone) -> WholeModel:
    """The tensors of the whole model, computed from shapes only."""
    import timm

    with outlines():
        model: Any = timm.create_model(backbone.name.removeprefix(PREFIX))
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items() if not is_counter(name)}
    classifier = model.pretrained_cfg.get("classifier") or ()
    prefixes = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    # timm's wrappers rename stages.0 to stages_0, or put the whole model under `model`.
    flat = {name.replace(".", "_"): name for name in shapes}
    kept = {}
    for name, tensor in backbone.features.state_dict().items():
        if is_counter(name):
            continue
        full = flat.get(name.removeprefix("model.").replace(".", "_"))
        if full is None or shapes[full] != tuple(tensor.shape):
            raise InputError(
                f"model.backbone_weights: {backbone.name} has the tensor {name} as a backbone only: expected a model "
                "whose backbone is a part of its classifier; set model.backbone_weights=null"
            )
        kept[full] = name
    return WholeModel(shapes, kept, tuple(f"{prefix}." for prefix in prefixes))


def _fits_by_name(found: Mapping[str, Tensor], whole: WholeModel) -> bool:
    """Whether the file has timm's names and shapes, with all that the backbone keeps."""
    return whole.kept.keys() <= found.keys() <= whole.shapes.keys() and all(
        tuple(tensor.shape) == whole.shapes[name] or name.startswith(whole.classifier)
        for name, tensor in found.items()
    )


def _match_in_order(found: Mapping[str, Tensor], whole: WholeModel, model: str, path: Path) -> Sequence[str]:
    """The model's name for each tensor of the file, in order. Raises InputError at the first that differs."""
    names = list(whole.shapes)
    agree = 0
    for theirs, ours in zip_longest(found, names):
        if theirs is None and not whole.kept.keys() & set(names[agree:]):
            break  # the file ends before the classifier
        if theirs is None or ours is None or not _alike(theirs, found[theirs], ours, whole):
            known = len(found.keys() & whole.shapes.keys())
            have = "nothing more" if theirs is None else f"{theirs} {tuple(found[theirs].shape)}"
            want = "nothing more" if ours is None else f"{ours} {whole.shapes[ours]}"
            raise InputError(
                f"{path}: expected the weights of {model}: {known} of the {len(found)} tensors have its names, and "
                f"in order the first {agree} agree; then the file has {have}, the model {want}: give a file of "
                "this model, or another model.backbone"
            )
        agree += 1
    if path.suffix.lower() == ".safetensors":
        raise InputError(
            f"{path}: expected timm's names of {model}, such as {names[0]}, found {next(iter(found))}: safetensors "
            "keep no order to go by, so give a .pth file or rename the tensors"
        )
    return names[:agree]


def _alike(theirs: str, tensor: Tensor, ours: str, whole: WholeModel) -> bool:
    """Same shape and kind; a classifier may have another number of classes."""
    same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
    if ours.startswith(whole.classifier):
        return same_kind and tensor.dim() == len(whole.shapes[ours])
    return same_kind and tuple(tensor.shape) == whole.shapes[ours]


def _check_values(tensors: Mapping[str, Tensor], path: Path) -> None:
    """All are finite floating-point numbers."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            what = "NaN or inf" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"{path}: expected finite floating-point weights, found {what} in {name}: get the file again"
            )
