"""The network in torch, on any device; every H and W that is a multiple of 32, and every number of images."""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from rtmdet.core.arguments import unusable_device
from rtmdet.core.arrays import Array
from rtmdet.core.backend import Selection
from rtmdet.core.console import warn
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts, numbered
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.postprocess import postprocess
from rtmdet.core.structures import DenseOutputs
from rtmdet.core.wording import shortened
from rtmdet.core.wrappers import unwrap
from rtmdet.deploy.cuda_graph import RecordedNetwork
from rtmdet.deploy.side_by_side import forward_side_by_side
from rtmdet.models.backbone import CSPNeXt
from rtmdet.models.evaluation_mode import EvaluationMode
from rtmdet.models.folding import fold_batch_norms
from rtmdet.models.rtmdet import RTMDet, build_rtmdet, network_inside
from rtmdet.weights.load import load_weights, missing_size, read_checkpoint


@dataclass(frozen=True, slots=True)
class TorchBackend:
    """A model on `device`, in evaluation mode while it runs; its detections stay there."""

    model: nn.Module
    device: torch.device
    recorded: RecordedNetwork | None = None  # runs the same model faster, on CUDA
    evaluating: EvaluationMode = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "evaluating", EvaluationMode(self.model))

    def forward(self, images: Array) -> DenseOutputs:
        """The dense outputs for B images, uint8 RGB (B, 3, H, W), brought to the device."""
        with torch.inference_mode(), self.evaluating:
            if self.recorded is not None:
                return self.recorded(torch.as_tensor(images))
            images = torch.as_tensor(images).to(self.device)
            if self.device.type == "cpu" and is_stateless(self.model):
                return forward_side_by_side(self.model, images)
            return self.model(images)

    def select(
        self,
        outputs: DenseOutputs,
        input_size: tuple[int, int],
        letterboxes: Sequence[Letterbox],
        selection: Selection,
    ) -> list[Detections]:
        """The detections in each of B images, in original pixels by falling score."""
        with torch.inference_mode():
            return postprocess(outputs, selection, input_size=input_size, letterboxes=letterboxes)


@functools.cache
def use_one_thread_in_forks() -> None:
    """From now on, torch calculates in one thread in every process that is forked from this one, as by gunicorn.

    The threads of OpenMP do not survive a fork, and the child would wait for them forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


def move_model(model: nn.Module, device: torch.device) -> TorchBackend:
    """The model itself, moved to a device in the memory format that is fast there."""
    use_one_thread_in_forks()
    memory_format = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return TorchBackend(model.to(device).to(memory_format=memory_format), device)


def use_model(model: object, facts: ModelFacts, device: str) -> TorchBackend:
    """An existing network, perhaps wrapped, moved to a device. Raises InputError if the facts are not of it."""
    facts.check_classes(network_inside(model).bbox_head.num_classes)
    assert isinstance(model, nn.Module), "a network is inside"
    return move_model(unwrap(model)[1], choose_device(device))


def prepare_model(model: RTMDet, device: torch.device, *, half: bool) -> TorchBackend:
    """A copy of the model made to detect only: batch norms merged into convolutions, on CUDA recorded as graphs.

    `half` computes in 16-bit floats, on CUDA only. Raises InputError.
    """
    if half and device.type != "cuda":
        raise InputError(f"half precision needs a CUDA GPU, this is {device}: leave it out")
    folded = fold_batch_norms(model)
    if device.type != "cuda":
        return move_model(folded, device)
    if half:
        folded = folded.half()
    fast = folded.to(device).to(memory_format=torch.channels_last if half else torch.contiguous_format)
    return TorchBackend(fast, device, RecordedNetwork(fast) if is_stateless(model) else None)


def is_stateless(model: nn.Module) -> bool:
    """Whether a pass is known to keep nothing in the model: other backbones may, and so may a compiled network."""
    return any(isinstance(part, CSPNeXt) for part in model.children())


def open_checkpoint(
    path: Path, *, size: str | None, device: str, fold: bool, half: bool
) -> tuple[TorchBackend, ModelFacts]:
    """The network of a weights file and what the file says about it. Raises InputError.

    `size` is that of the model, for files that do not say it; `fold` and `half`: see `prepare_model`.
    """
    if half and not fold:
        raise InputError("half precision is for detection with merged batch norms: leave out half or fold=False")
    checkpoint = read_checkpoint(path)
    if not checkpoint.is_rtmdet:
        raise InputError(
            f"{checkpoint.path}: expected an RTMDet, whose tensors begin with backbone., neck. and bbox_head., found "
            f"another network ({shortened(sorted(checkpoint.tensors), 3)}): give other weights"
        )
    facts, classes = replace(checkpoint.facts, size=size or checkpoint.facts.size), checkpoint.num_classes
    if not facts.size:
        raise missing_size(checkpoint, "--size")
    if classes is None:
        kind = "a backbone to start training from, not a detector"
        if not checkpoint.backbone_only:
            kind = "another detector on such a backbone, not an RTMDet"
        raise InputError(f"{checkpoint.path} has no class layers of an RTMDet: it is {kind}")
    if checkpoint.entry:
        warn(f"{path}: the weights are those of its entry {checkpoint.entry}")
    if checkpoint.unapplied:
        warn(f"{path}: settings of its configuration that are not applied here: {shortened(checkpoint.unapplied)}")
    if len(facts.classes) != classes:  # these names are of another detector
        facts = replace(facts, classes=numbered(classes), named=False, category_ids=(), score_thresholds=())
    backbone = facts.backbone or None  # its weights are in the checkpoint: no download
    model = build_rtmdet(facts.size, classes, backbone=backbone).eval()
    load_weights(model, checkpoint)
    where = choose_device(device)
    return prepare_model(model, where, half=half) if fold else move_model(model, where), facts


def choose_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is CUDA if available, else the CPU. Raises InputError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise unusable_device(name, error) from error
    return device
