"""mmyolo's RTMDet: mmdet's network under other names, in its sizes tiny and s; m, l and x have another box branch."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.models.backbone import scaled_channels
from rtmdet.models.zoo import SIZES

HEAD = "bbox_head.head_module."
_NAMES = {  # how the names of tensors begin there -> in mmdet
    HEAD: "bbox_head.",
    "neck.reduce_layers.2.": "neck.reduce_layers.0.",
    "neck.top_down_layers.0.0.": "neck.top_down_blocks.0.",
    "neck.top_down_layers.0.1.": "neck.reduce_layers.1.",
    "neck.top_down_layers.1.": "neck.top_down_blocks.1.",
    "neck.downsample_layers.": "neck.downsamples.",
    "neck.bottom_up_layers.": "neck.bottom_up_blocks.",
    "neck.out_layers.": "neck.out_convs.",
}
_OTHERWISE = (  # settings that mean something else there, or do not exist
    "type", "in_channels", "out_channels", "num_csp_blocks", "feat_channels", "with_objectness", "exp_on_reg",
)  # fmt: skip
_UNWRITTEN = {"norm_cfg": {"type": "BN"}, "stacked_convs": 2}  # values of settings that a part does not write


def named_as_in_mmdet(path: object, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by mmdet's names; those of another program stay.

    Raises InputError for mmyolo's m, l and x: they predict distances, where mmdet's predict their logarithms.
    """
    if not any(name.startswith(HEAD) for name in tensors):
        return dict(tensors)
    stem = tensors.get("backbone.stem.2.conv.weight")
    for size, parameters in SIZES.items():
        if stem is not None and parameters.exponential and len(stem) == scaled_channels(parameters.widen)[0]:
            raise InputError(
                f"{path}: mmyolo's RTMDet-{size}, whose box branch is not that of mmdet's: its boxes would be wrong "
                f"here; expected mmyolo's tiny or s, or mmdet's {size}"
            )
    return {_in_mmdet(name): tensor for name, tensor in tensors.items()}


def _in_mmdet(name: str) -> str:
    return next(
        (ours + name.removeprefix(theirs) for theirs, ours in _NAMES.items() if name.startswith(theirs)), name
    )


def as_in_mmdet(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration as mmdet would write it, None for what it would write otherwise; one of mmdet's stays."""
    model = settings.get("model")
    head = model.get("bbox_head") if isinstance(model, Mapping) else None
    module = head.get("head_module") if isinstance(head, Mapping) else None
    if not (isinstance(model, Mapping) and isinstance(head, Mapping) and isinstance(module, Mapping)):
        return settings
    parts = {
        "backbone": model.get("backbone"),
        "neck": model.get("neck"),
        "bbox_head": {**module, "anchor_generator": head.get("prior_generator")},
    }
    known = {
        name: _UNWRITTEN | dict(part) | dict.fromkeys(_OTHERWISE)
        for name, part in parts.items()
        if isinstance(part, Mapping)
    }
    return {**settings, "model": {**model, **known}}
