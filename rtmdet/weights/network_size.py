"""Which published size tensors are of, and whether the program that loads them builds that size as published."""

from collections.abc import Mapping

from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.models.backbone import CSPNeXt, scaled_channels
from rtmdet.models.outline import outlines
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.models.zoo import COSTS, SIZES

STEM = "backbone.stem.2.conv.weight"  # as many output channels as the stem, by which the sizes differ


def is_counter(name: str) -> bool:
    """Whether a tensor is the number of batches that a norm has seen: nothing uses it, and some files lack it."""
    return name.endswith(".num_batches_tracked")


def find_size(tensors: Mapping[str, Tensor]) -> str | None:
    """The published size whose backbone has exactly these shapes; None if there is none."""
    found = {name: t.shape for name, t in tensors.items() if name.startswith("backbone.") and not is_counter(name)}
    stem = found.get(STEM)
    for name, size in SIZES.items():
        if not stem or stem[0] != scaled_channels(size.widen)[0]:
            continue  # the width distinguishes the sizes, so not all need to be built
        with outlines():
            backbone = CSPNeXt(size.deepen, size.widen, depthwise=size.depthwise)
        own = {f"backbone.{key}": t.shape for key, t in backbone.state_dict().items() if not is_counter(key)}
        if found == own:
            return name
    return None


def check_rebuilt(tensors: Mapping[str, Tensor], facts: ModelFacts) -> None:
    """Raise InputError unless a network that is built by its facts has exactly these tensors."""
    facts.check_classes(len(facts.classes))
    with outlines():
        twin = build_rtmdet(facts.size or "tiny", len(facts.classes), backbone=facts.backbone or None).state_dict()
    if {name: t.shape for name, t in tensors.items()} != {name: t.shape for name, t in twin.items()}:
        raise InputError(
            f"this network is no RTMDet of the published sizes, {', '.join(SIZES)}, with {len(facts.classes)} "
            "classes, so its file could not be opened again: write its state_dict with torch.save"
        )


def changed_layers(tensors: Mapping[str, Tensor]) -> str:
    """The end of a message if not the file may be at fault, but the program: its layers are not the published ones.

    Empty if they are, and for tensors whose width is that of no published size.
    """
    stem = tensors.get(STEM)
    widths = {scaled_channels(SIZES[size].widen)[0]: size for size in COSTS if size in SIZES}
    size = widths.get(len(stem)) if stem is not None and stem.ndim else None
    if size is None:
        return ""
    with outlines():
        model = build_rtmdet(size, COSTS[size].classes)
    here, published = sum(parameter.numel() for parameter in model.parameters()), COSTS[size].parameters
    if here == published:
        return ""
    return (
        f", or undo the change of layers in this program, where RTMDet-{size} has {here} parameters instead of "
        f"{published} (docs/changing-the-method.md loads what still fits)"
    )
