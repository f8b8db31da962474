"""`rtmdet info`: what a weights file holds, or a table of the model sizes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rtmdet.core.errors import InputError
from rtmdet.core.facts import USUAL_INPUT_SIZE, ModelFacts
from rtmdet.core.paths import user_path
from rtmdet.core.wording import shortened, size_text
from rtmdet.deploy.open_weights import is_exported, open_exported
from rtmdet.models.zoo import COSTS, WEIGHTS

if TYPE_CHECKING:
    from rtmdet.weights.load import LoadedWeights

WITHOUT_STATISTICS = "without running statistics (some exports drop them)"


def run(arguments: argparse.Namespace) -> int:
    """Print what a file holds or, without one, the sizes and the published weights; returns 0."""
    if arguments.weights is None:
        return print_sizes(USUAL_INPUT_SIZE[0] if arguments.input is None else arguments.input)
    if arguments.input is not None:
        raise InputError("--input is for the table of all sizes: leave it or the weights out")
    path = user_path(arguments.weights)
    for key, value in describe_exported(path) if is_exported(path) else describe_checkpoint(arguments.weights):
        print(f"{key:<12} {value or 'not stated'}")
    return 0


def describe_checkpoint(name: str) -> list[tuple[str, str]]:
    """The contents of a checkpoint or of published weights, as pairs of key and text. Raises InputError."""
    from rtmdet.weights.download import resolve  # these need torch, exported files do not
    from rtmdet.weights.load import read_checkpoint

    weights = read_checkpoint(resolve(name, progress=True))
    count, fault = weights.num_classes, find_fault(weights)
    names = ", ".join(weights.classes or ()) or "without names"
    return [
        ("file", f"{weights.path.with_name(weights.file)}, {weights.origin}"),
        ("model", describe_model(weights, fault)),
        *([("not usable", fault)] if fault else []),
        ("classes", "none" if count is None else f"{count}: {names}"),
        ("input", describe_sizes(weights)),
        *([] if count is None else describe_facts(weights.facts)),
        ("epoch", "" if weights.epoch is None else str(weights.epoch)),
        ("made with", weights.made_with),
        *([("not applied", ", ".join(weights.unapplied))] if weights.unapplied else []),
        ("batch norms", "with running statistics" if weights.has_statistics else WITHOUT_STATISTICS),
    ]


def describe_exported(path: Path) -> list[tuple[str, str]]:
    """The facts in an exported file, as pairs of key and text. Raises InputError."""
    facts = open_exported(path).facts
    model = facts.model
    batch = "any number of images" if facts.fixed_batch is None else f"{facts.fixed_batch} images"
    sizes = "only this size" if facts.fixed_input else "or any multiples of 32"
    nms = facts.nms
    return [
        ("file", f"{path}, exported by rtmdet {facts.version}"),
        ("model", f"RTMDet-{model.size}" + (f" with the backbone {model.backbone}" if model.backbone else "")),
        ("classes", f"{len(model.classes)}: {', '.join(model.classes)}"),
        ("input", f"{size_text(model.input_size)}, {sizes}; {batch}"),
        *describe_facts(model),
        ("outputs", "all boxes, before NMS" if nms is None else f"after NMS: score {nms.score:g}, IoU {nms.iou:g}"),
        ("made of", f"weights with SHA-256 {facts.weights}" if facts.weights else ""),
    ]


def describe_facts(facts: ModelFacts) -> list[tuple[str, str]]:
    """What the files of all kinds tell of a detector."""
    low, high = facts.value_range or (0, 65535)
    return [
        ("ids", ", ".join(map(str, facts.category_ids))),
        ("thresholds", ", ".join(f"{score:.3f}" for score in facts.score_thresholds)),
        ("value range", f"{low} .. {high} of 16-bit images become black .. white"),
        ("NMS", str(facts.nms)),
        ("windows", str(facts.tiling or "none, whole pictures")),
    ]


def find_fault(weights: "LoadedWeights") -> str:
    """Why no command takes the detector in a file; empty for what can be used, and for what is no detector."""
    from rtmdet.models.outline import outlines
    from rtmdet.models.rtmdet import build_rtmdet
    from rtmdet.weights.load import fitting_tensors, missing_size

    if not weights.is_rtmdet or weights.backbone_only or weights.facts.backbone:  # the last needs timm
        return ""
    try:
        if not weights.facts.size:
            raise missing_size(weights, "--size")
        with outlines():
            model = build_rtmdet(weights.facts.size, weights.num_classes or 1)
        fitting_tensors(model, weights)
    except InputError as error:
        return str(error).removeprefix(f"{weights.path}: ")
    return ""


def describe_model(weights: "LoadedWeights", fault: str) -> str:
    """Size and backbone; with a fault perhaps only the backbone is of that size."""
    facts = weights.facts
    if not weights.is_rtmdet:
        return (
            f"not an RTMDet, perhaps a backbone for model.backbone_weights ({shortened(sorted(weights.tensors), 3)})"
        )
    size = f"RTMDet-{facts.size}" if facts.size else "an RTMDet of no published size"
    if facts.size and fault:
        size = f"an RTMDet with the backbone of {size}"
    backbone = f" with the backbone {facts.backbone}" if facts.backbone else ""
    values = sum(t.numel() for t in weights.tensors.values())
    return f"{size}{backbone}, {values / 1e6:.2f} million parameters and buffers"


def describe_sizes(weights: "LoadedWeights") -> str:
    """The input size of detection, and that of the training if it differs."""
    if weights.input_size is None:
        return ""
    text, trained = size_text(weights.input_size), weights.trained_size
    return text if trained in (None, weights.input_size) else f"{text}, trained at {size_text(trained)}"


def print_sizes(side: int) -> int:
    """Parameters and multiply-adds of every size, and the published weights; returns 0."""
    if side < 32 or side % 32:
        raise InputError(f"--input {side}: expected a multiple of 32 pixels")
    print(f"size  classes  parameters (M)  multiply-adds at {side} px (G)")
    for size, cost in COSTS.items():
        counts = f"{cost.parameters / 1e6:14.3f} {cost.multiply_adds((side, side)) / 1e9:26.3f}"
        print(f"{size:<5} {cost.classes:7d} {counts}")
    print("\npublished weights" + " " * 8 + "COCO AP")
    for name, weights in WEIGHTS.items():
        print(f"{name:<24} {weights.box_ap if weights.box_ap is not None else '-'}")
    return 0
