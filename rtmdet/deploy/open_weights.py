"""Opens weights of any kind: what runs them, and what the file says about them.

Only the library that runs a file is imported: exported ones need no torch.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rtmdet.core.backend import Backend
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.paths import FilePath, user_path
from rtmdet.deploy.exported import ExportedBackend

if TYPE_CHECKING:
    from rtmdet.models.rtmdet import RTMDet

EXPORTED_SUFFIXES = (".onnx", ".xml")


def is_exported(path: str | Path) -> bool:
    """Whether a path is that of an exported file, by its suffix."""
    return Path(path).suffix.lower() in EXPORTED_SUFFIXES


def open_exported(path: Path, device: str = "auto", threads: int | None = None) -> ExportedBackend:
    """The network of a file with one of EXPORTED_SUFFIXES, on a device. Raises InputError.

    `threads` None: as many as cores.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads {threads}: expected at least 1: leave it out for as many as cores")
    if path.suffix.lower() == ".onnx":
        from rtmdet.deploy.onnx_backend import open_onnx

        return open_onnx(path, device, threads)
    from rtmdet.deploy.openvino_backend import open_openvino

    return open_openvino(path, device, threads)


def open_weights(
    weights: FilePath, *, size: str | None, device: str, fold: bool, half: bool, threads: int | None
) -> tuple[Path, Backend, ModelFacts]:
    """The file of weights, which may be a published name or a run's folder, with its backend and its facts.

    The suffix decides which library is imported. Options as for `Detector`. Raises InputError.
    """
    path = user_path(weights)
    if is_exported(path):
        if size is not None:
            raise InputError(f"{path}: an exported file is of one size: leave size out")
        if half:
            raise InputError(f"{path}: an exported file has its own precision: leave out half, or export with --half")
        exported = open_exported(path, device, threads)
        return path, exported, exported.facts.model
    if threads is not None:
        raise InputError(f"{path}: only exported files take threads: leave it out, and use torch.set_num_threads")
    from rtmdet.deploy.torch_backend import open_checkpoint
    from rtmdet.weights.download import resolve

    path = resolve(os.fspath(weights), progress=True)
    backend, facts = open_checkpoint(path, size=size, device=device, fold=fold, half=half)
    return path, backend, facts


def save_weights(model: "RTMDet", facts: ModelFacts, path: Path, *, source: Path | None) -> None:
    """Write a network, that of the file `source`, as a checkpoint with these facts. Raises InputError."""
    from rtmdet.models.folding import MERGED, is_folded
    from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
    from rtmdet.weights.network_size import check_rebuilt, find_size

    state = model.state_dict()
    if path.suffix.lower() != ".pth" or path.is_dir():
        raise InputError(f"{path}: expected the name of a file that ends in .pth: give another one")
    if is_folded(model):
        raise InputError(f"{source}: {MERGED}")
    facts = replace(facts, size=find_size(state) or facts.size, backbone=model.backbone_name)
    check_rebuilt(state, facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, model_state=state, meta=CheckpointMeta(facts))
