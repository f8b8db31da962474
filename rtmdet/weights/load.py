"""Loads weights into a model: OpenMMLab's files, our own checkpoints, bare state_dicts and safetensors.

Tensor names are OpenMMLab's, so they must match exactly, and every tensor is accounted for.
Dimension legend: K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.facts import USUAL_INPUT_SIZE, ModelFacts, numbered, read_facts
from rtmdet.core.wording import one_line, shortened
from rtmdet.models.norm_statistics import is_blank
from rtmdet.models.rtmdet import RTMDet
from rtmdet.models.zoo import SIZES
from rtmdet.weights.checkpoint import is_ours, parse_meta
from rtmdet.weights.inference_settings import read_inference_settings
from rtmdet.weights.mmyolo import as_in_mmdet
from rtmdet.weights.network_size import changed_layers, find_size, is_counter
from rtmdet.weights.openmmlab import (
    ROOTS,
    check_class_names,
    check_network,
    check_settings,
    class_names,
    other_network,
    read_settings,
    swaps_channels,
)
from rtmdet.weights.state_dict import find_entry, read_state_dict
from rtmdet.weights.unpickling import read_pickled

CLASS_BRANCH = "bbox_head.rtm_cls."
FIRST_CONV = "backbone.stem.0.conv.weight"
DETECTOR_PARTS = ("neck.", "bbox_head.")
NAMES_SHOWN = 20  # of a list of tensors
OURS = "a checkpoint of this package"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedWeights:
    """The weights of a file, on the CPU, with the metadata of the file."""

    path: Path
    tensors: dict[str, Tensor]  # names of RTMDet's state_dict
    facts: ModelFacts  # what is not stored is empty, the default, or inferred from the tensors
    sized: bool = True  # False: the input size is not stored, but the usual one
    trained_size: tuple[int, int] | None = None  # (H, W) in training, if it differs
    epoch: int | None = None  # finished epochs of the training, if stored
    made_with: str = ""  # programs, machine, date and first weights of the training, if stored
    origin: str = "tensors without metadata"  # the program that wrote the file
    unapplied: tuple[str, ...] = ()  # settings for tests in OpenMMLab's configuration that are not applied here
    entry: str = ""  # of the file, that the tensors are from; empty: state_dict, or the file itself
    other_network: str = ""  # the setting there that makes tensors differ from those of a published size, if any

    @property
    def classes(self) -> tuple[str, ...] | None:
        """K names; None if the file has none that fit its class layers."""
        return self.facts.classes if self.facts.named else None

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(H, W) for detection, if stored."""
        return self.facts.input_size if self.sized else None

    @property
    def file(self) -> str:
        """Its name, and the entry that the tensors are from unless that is state_dict, as messages say it."""
        return f"{self.path.name}, entry {self.entry}" if self.entry else self.path.name

    @property
    def is_rtmdet(self) -> bool:
        """Whether any tensor has a name of this network; others may be those of a timm backbone."""
        return any(name.startswith(ROOTS) for name in self.tensors)

    @property
    def num_classes(self) -> int | None:
        """K, from the class layers; None for backbones."""
        return _count_classes(self.tensors)

    @property
    def has_statistics(self) -> bool:
        """Whether the batch norms hold statistics: some exports leave all means 0 and all variances 1."""
        means = {name: mean for name, mean in self.tensors.items() if name.endswith(".running_mean")}
        variances = [self.tensors.get(f"{name.removesuffix('mean')}var") for name in means]
        pairs = zip(means.values(), variances, strict=True)
        return not means or not all(variance is not None and is_blank(mean, variance) for mean, variance in pairs)

    @property
    def backbone_only(self) -> bool:
        """Whether this is only a backbone, like the ImageNet files, and not a detector."""
        return not any(name.startswith(DETECTOR_PARTS) for name in self.tensors)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The result of load_weights."""

    file: str  # its name, and the entry that the tensors are from
    loaded: int  # tensors
    backbone_only: bool = False
    replaced_classes: int | None = None  # K of the file, if its class layers did not fit
    num_classes: int = 0  # K of the model
    kept_classes: int = 0  # of these, those that the file knows by name

    @property
    def summary(self) -> str:
        """One line for the user."""
        if self.backbone_only:
            return f"{self.file}: backbone loaded ({self.loaded} tensors); neck and head start from scratch"
        name = f"{self.file}: weights loaded"
        if self.replaced_classes is None:
            return f"{name} completely ({self.loaded} tensors)"
        classes = f"{self.num_classes} class{'' if self.num_classes == 1 else 'es'}"
        why = "" if self.kept_classes else "; the class layers start from scratch"
        return f"{name} ({self.loaded} tensors){why}: {classes} instead of {self.replaced_classes}"


def read_checkpoint(path: Path) -> LoadedWeights:
    """Read a .pth, .pt or .safetensors file; no code in it runs.

    Raises InputError if the file is not a checkpoint, is damaged, would run code or holds no weights.
    """
    if _is_safetensors(path):
        return _read_safetensors(path)
    content = read_pickled(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a dict of tensors, found {type(content).__name__}: save a state_dict")
    entry = find_entry(content, path)
    tensors = read_state_dict(content[entry] if entry else content, path)
    if is_ours(content):
        meta = parse_meta(content["meta"], path)
        return LoadedWeights(
            path,
            tensors,
            meta.facts,
            trained_size=meta.trained_size,
            made_with=meta.made_with,
            epoch=meta.epoch if meta.epoch or meta.iteration else None,  # both 0: of a detector in memory
            origin=OURS,
        )
    check_network(path, tensors)
    metadata = content.get("meta")
    settings = as_in_mmdet(read_settings(metadata))
    inference = read_inference_settings(settings)
    facts = replace(_guess_facts(tensors, class_names(metadata), inference.input_size), nms=inference.nms)
    if facts.named:  # those of an ImageNet backbone are not of its detector, and not all different
        check_class_names(path, facts.classes)
    entry = entry.removeprefix("state_dict")
    weights = LoadedWeights(path, tensors, facts, sized=inference.input_size is not None, entry=entry)
    if not weights.backbone_only:  # a backbone is only where a training starts
        check_settings(path, settings, facts.size or None)
        if swaps_channels(settings) and FIRST_CONV in tensors:  # its input is RGB, ours BGR
            tensors[FIRST_CONV] = tensors[FIRST_CONV].flip(1)
        other = other_network(settings, facts.size or None)
        weights = replace(weights, unapplied=inference.unapplied, other_network=other)
    if not isinstance(metadata, Mapping):
        return weights
    epoch = metadata.get("epoch")
    return replace(weights, epoch=epoch if isinstance(epoch, int) else None, origin="a checkpoint of OpenMMLab")


def _guess_facts(
    tensors: Mapping[str, Tensor], classes: Sequence[str] | None = None, input_size: tuple[int, int] | None = None
) -> ModelFacts:
    """What tensors and the little that other programs store beside them say about a model.

    The size is empty if no published one fits; class names that do not fit the class layers are left out.
    """
    number = _count_classes(tensors) or 0
    named = classes is not None and len(classes) == number
    return ModelFacts(
        tuple(classes) if classes is not None and named else numbered(number),
        input_size or USUAL_INPUT_SIZE,
        named=named,
        size=find_size(tensors) or "",
    )


def _count_classes(tensors: Mapping[str, Tensor]) -> int | None:
    """K, from the class layers; None for backbones."""
    bias = tensors.get(f"{CLASS_BRANCH}0.bias")
    return None if bias is None else bias.numel()


def load_weights(model: RTMDet, weights: LoadedWeights) -> LoadReport:
    """Copy weights into a model, all or nothing: either everything fits or the model stays as it was.

    If only the number of classes differs, the class layers start from scratch. Files without neck and head load
    into the backbone. Raises InputError for tensors that are missing, unexpected, of another shape or type, or
    not finite.
    """
    found, classes = fitting_tensors(model, weights), model.bbox_head.num_classes
    model.load_state_dict(found, strict=False)  # the names were checked
    replaced = None if weights.num_classes == classes else weights.num_classes
    if replaced is not None:
        model.bbox_head.initialize_class_branch()
    return LoadReport(weights.file, len(found), weights.backbone_only, replaced_classes=replaced, num_classes=classes)


def fitting_tensors(model: RTMDet, weights: LoadedWeights) -> dict[str, Tensor]:
    """The tensors that `load_weights` copies into a model, which may be one of shapes alone. Raises InputError."""
    found = {name: t for name, t in weights.tensors.items() if not name.startswith("data_preprocessor.")}
    state = model.state_dict(keep_vars=True)
    expected = {name: t for name, t in state.items() if name in found or not is_counter(name)}
    if weights.backbone_only:
        expected = {name: t for name, t in expected.items() if name.startswith("backbone.")}
        found = {name: t for name, t in found.items() if not name.startswith("head.")}
    _check_backbone(weights, model)
    _check_names(found, expected, weights)
    if (classes := weights.num_classes) not in (None, model.bbox_head.num_classes):
        found = {name: t for name, t in found.items() if not _is_other_class_branch(name, t, expected[name], classes)}
    _check_tensors(found, expected, weights)
    _check_shared(found, expected, weights)
    return found


def keep_known_classes(model: RTMDet, weights: LoadedWeights, classes: Sequence[str]) -> list[str]:
    """Copy the class-layer rows of classes that the file knows by name; returns their names.

    `classes` are the model's K names, in any order; the rows of the others start from scratch. If no name is known,
    or all are in the same order, the model stays as `load_weights` left it.
    """
    theirs = weights.classes or ()
    known = [name for name in classes if name in theirs]
    if not known or theirs == tuple(classes):
        return known
    model.bbox_head.initialize_class_branch()
    ours = torch.tensor([classes.index(name) for name in known])
    rows = torch.tensor([theirs.index(name) for name in known])
    with torch.no_grad():
        for name, parameter in model.bbox_head.rtm_cls.named_parameters():
            parameter[ours.to(parameter.device)] = weights.tensors[f"{CLASS_BRANCH}{name}"][rows].to(parameter)
    return known


def new_classes(weights: LoadedWeights, classes: Sequence[str]) -> list[str]:
    """The classes that are unknown to these initial weights and start from scratch.

    Classes are matched by name. If no name matches but the number does, all are matched by position.
    """
    new = [name for name in classes if name not in (weights.classes or ())]
    return [] if len(new) == len(classes) == weights.num_classes else new


def missing_size(weights: LoadedWeights, option: str) -> InputError:
    """The line for a file from which the model's size does not follow; `option` is how to give it."""
    if weights.other_network:
        return InputError(f"{weights.path}: {weights.other_network}")
    if any(name.startswith("backbone.stem.") for name in weights.tensors):
        return InputError(
            f"{weights.path}: its backbone has other tensors than those of the published sizes, {', '.join(SIZES)}: "
            f"expected one of them; give other weights{changed_layers(weights.tensors)}"
        )
    return InputError(f"{weights.path} stores no model size: give it with {option}")


def _is_safetensors(path: Path) -> bool:
    """Whether the name or the beginning, the length of a JSON header and its first brace, is that of such a file."""
    if path.suffix.lower() == ".safetensors":
        return True
    with suppress(OSError), path.open("rb") as file:
        start = file.read(9)
        return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
    return False


def _read_safetensors(path: Path) -> LoadedWeights:
    """The tensors of a file, with the facts about the model if `rtmdet export` wrote it."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = file.metadata() or {}
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is not a dict
    except Exception as error:
        raise InputError(
            f"{path}: expected a safetensors file, found a damaged or different one ({one_line(error)})"
        ) from error
    tensors = read_state_dict(content, path)
    if "format" not in text or "classes" not in text:
        check_network(path, tensors)
        return LoadedWeights(path, tensors, _guess_facts(tensors), sized=False)
    return LoadedWeights(path, tensors, read_facts(path, text).model, origin="a file of rtmdet export")


def _is_other_class_branch(name: str, found: Tensor, expected: Tensor, classes: int | None) -> bool:
    """Whether a class-layer tensor fits except for its number of classes."""
    return name.startswith(CLASS_BRANCH) and found.shape == (classes, *expected.shape[1:])


def _check_backbone(weights: LoadedWeights, model: RTMDet) -> None:
    """Report different backbones of file and model, instead of listing all their tensors."""
    names = weights.facts.backbone, model.backbone_name
    theirs, ours = (name.partition(".")[0] for name in names)  # without the name of their weights
    if theirs != ours and (theirs or weights.facts.size):  # bare tensors do not name their network
        raise InputError(
            f"{weights.path}: its backbone is {theirs or 'a CSPNeXt'}, the model's is {ours or 'a CSPNeXt'}: give "
            "weights of the same backbone, or none"
        )


def _check_names(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], weights: LoadedWeights) -> None:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    if missing or unexpected:
        _check_size(expected, weights)
        part = "neck and head are" if weights.facts.backbone else "backbone is"
        size = f" (the file's {part} of size {weights.facts.size})" if weights.facts.size else ""
        parts = [_listed(missing, "missing"), _listed(unexpected, "unexpected")]
        raise _misfit(weights, f"does not fit the model{size}: {'; '.join(filter(None, parts))}")


def _check_size(expected: Mapping[str, Tensor], weights: LoadedWeights) -> None:
    """Report different sizes of file and model, instead of listing tensors."""
    size, theirs = find_size(expected), weights.facts.size
    if theirs and size and theirs != size:
        raise InputError(
            f"{weights.path}: the file is of size {theirs}, the model of size {size}: set model.size={theirs} (in "
            "commands without a configuration leave --size out)"
        )


def _check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], weights: LoadedWeights) -> None:
    shapes = [
        f"{name} {tuple(t.shape)} instead of {tuple(expected[name].shape)}"
        for name, t in found.items()
        if t.shape != expected[name].shape
    ]
    if shapes:
        _check_size(expected, weights)
    types = [
        f"{name} {t.dtype} instead of {expected[name].dtype}"
        for name, t in found.items()
        if t.is_floating_point() != expected[name].is_floating_point()
    ]
    broken = [name for name, t in found.items() if not torch.isfinite(t).all()]
    negative = [name for name, t in found.items() if name.endswith(".running_var") and (t < 0).any()]
    parts = [
        _listed(shapes, "of another shape"),
        _listed(types, "of another type"),
        _listed(broken, "with NaN or inf"),
        _listed(negative, "with negative variances"),
    ]
    if any(parts):
        raise _misfit(weights, f"does not fit the model: {'; '.join(filter(None, parts))}")


def _check_shared(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], weights: LoadedWeights) -> None:
    """A parameter may have several names; raise InputError if their values differ in the file."""
    first: dict[int, str] = {}
    for name in found:
        other = first.setdefault(id(expected[name]), name)
        if not torch.equal(found[name], found[other]):
            raise _misfit(weights, f"{name} differs from {other}, but the model shares one weight between them")


def _misfit(weights: LoadedWeights, tensors: str) -> InputError:
    """The line for tensors that do not fit; the setting that made them names the cause better than they do."""
    own = ", or make the change of layers that they were trained with" if weights.origin == OURS else ""
    remedy = f"give weights of this network{changed_layers(weights.tensors) or own}"
    return InputError(f"{weights.path}: {weights.other_network or f'{tensors}; {remedy}'}")


def _listed(names: Iterable[str], what: str) -> str:
    """'5 missing: a, b, c, d and 1 more', or '' without names."""
    names = list(names)
    return f"{len(names)} {what}: {shortened(names, NAMES_SHOWN)}" if names else ""
