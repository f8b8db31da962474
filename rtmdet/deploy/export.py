"""Writes a network in the formats of other programs, one function for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING

import safetensors.torch
import torch

from rtmdet import __version__
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ExportFacts, ModelFacts, NmsFacts
from rtmdet.core.whole_file import sha256_of, write_whole
from rtmdet.models.folding import MERGED, is_folded
from rtmdet.models.rtmdet import RTMDet
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import read_checkpoint
from rtmdet.weights.network_size import find_size
from rtmdet.weights.openmmlab_file import openmmlab_config

if TYPE_CHECKING:
    from onnx import ModelProto

# Format -> the end of the file's name.
ENDINGS: Mapping[str, str] = MappingProxyType(
    {"onnx": ".onnx", "openvino": ".xml", "safetensors": ".safetensors", "openmmlab": "-openmmlab.pth"}
)
SECOND_FILE: Mapping[str, str] = MappingProxyType({".xml": ".bin", ".pth": ".py"})  # of the same name, beside it
NMS_SCORE, NMS_MOST = 0.001, 300  # as in COCO evaluation
RUNS_ALONE = ("onnx", "openvino")  # these hold the network, the others only its weights


def check_formats(formats: Sequence[str], *, plain: bool) -> None:
    """Raise InputError for unknown formats, missing packages, and unless `plain` for those of the weights alone.

    `plain`: in 32 bits, for all sizes and batches, without NMS.
    """
    unknown = [name for name in formats if name not in ENDINGS]
    if unknown or not formats:
        found = ", ".join(unknown) or "none"
        raise InputError(f"--format: expected some of {', '.join(ENDINGS)}, found {found}")
    if not plain and (others := [name for name in formats if name not in RUNS_ALONE]):
        raise InputError(
            f"{others[0]} holds the weights alone, without NMS and of all sizes: leave these options out, or export "
            "it by itself"
        )
    if set(formats) & set(RUNS_ALONE):
        from rtmdet.deploy import onnx_file  # noqa: F401  # first: its extra has all packages
    if "onnx" in formats:
        from rtmdet.deploy import onnx_backend  # noqa: F401  # to compare the file
    if "openvino" in formats:
        from rtmdet.deploy import openvino_backend  # noqa: F401


def check_folder(out: Path | None) -> None:
    """Raise InputError if the folder for the files has the name of one of them."""
    endings = {Path(f"model{ending}").suffix for ending in ENDINGS.values()}
    if out is not None and out.suffix.lower() in endings and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder, found the name of a file: give the folder that it is for")


@dataclass(frozen=True, slots=True)
class Tracer:
    """Makes the graphs of a network for its files, each once: tracing takes longer than all that follows."""

    model: RTMDet  # must not change any more
    facts: ExportFacts  # of the files
    _graphs: "dict[bool, ModelProto]" = field(default_factory=dict)

    def graph(self, *, half: bool = False) -> "ModelProto":
        """The graph, `half` in 16 bits, which the caller must not change. Raises InputError."""
        from rtmdet.deploy.onnx_file import trace_onnx  # its packages may be missing

        if half not in self._graphs:
            self._graphs[half] = trace_onnx(self.model, self.facts, half=half)
        return self._graphs[half]


def write_network(tracer: Tracer, path: Path, format: str, *, half: bool = False, source: Path | None) -> None:
    """Write the file of one format, `half` in 16 bits; `source` is the weights file that the model is from.

    Raises InputError.
    """
    model, facts = tracer.model, tracer.facts
    check_formats([format], plain=not half and facts.fixed_batch is None and facts.nms is None)
    if format in RUNS_ALONE:
        write_graph(tracer.graph(half=half and format == "onnx"), facts, path, format, half=half)
        return
    if is_folded(model):
        raise InputError(f"{format}: {MERGED}")
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    if format == "openmmlab":  # the checkpoint and, beside it, the configuration that is in it, too
        known = replace(facts.model, size=facts.model.size or find_size(tensors) or "")
        config = openmmlab_config(known)
        write_whole(path.with_suffix(SECOND_FILE[path.suffix]), config.encode())
        epoch = None if source is None else read_checkpoint(source).epoch
        save_checkpoint(path, model_state=tensors, meta=CheckpointMeta(known, epoch or 0, openmmlab_config=config))
    else:
        write_whole(path, safetensors.torch.save(tensors, facts.to_text()))


def export_facts(
    model: ModelFacts, source: Path | None, *, fixed_batch: int | None = None, nms: NmsFacts | None = None
) -> ExportFacts:
    """What the file of a detector from `source` says about itself. Raises InputError for a batch under 1."""
    return ExportFacts(
        model=model,
        version=__version__,
        weights="" if source is None else sha256_of(source),
        fixed_input=fixed_batch is not None,
        fixed_batch=fixed_batch,
        nms=nms,
    )


def write_graph(graph: "ModelProto", facts: ExportFacts, path: Path, format: str, *, half: bool = False) -> None:
    """Write a traced network as a file of ONNX, or as OpenVINO's two, `half` in 16 bits. Raises InputError."""
    from rtmdet.deploy.onnx_file import finish_onnx

    if format == "onnx":
        finish_onnx(graph, facts, path)
        return
    from rtmdet.deploy.openvino_backend import save_as_openvino

    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        finish_onnx(graph, facts, file)
        save_as_openvino(file, facts.to_text(), path, half=half)
