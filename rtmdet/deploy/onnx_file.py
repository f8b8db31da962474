"""Writes a network as an ONNX file, which other programs run.

It takes uint8 RGB images, normalizes inside, and carries class names and sizes (core.facts).
Dimension legend: B images, P priors, K classes, N detections of all images, H, W of the input.
"""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from rtmdet.core.boxes import decode_distances, grid_priors
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ExportFacts, NmsFacts
from rtmdet.core.strides import STRIDES
from rtmdet.core.whole_file import write_whole
from rtmdet.models.folding import fold_batch_norms
from rtmdet.models.rtmdet import RTMDet

try:
    import onnx
    import onnxscript  # noqa: F401  # torch needs it
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise InputError(
        'the export to ONNX needs the packages onnx and onnxscript: pip install "plain-rtmdet[export]"'
    ) from error

OPSET = 18
LARGEST_BATCH = 4096
LARGEST_SIDE = 512  # times 32 pixels


class DecodedModel(nn.Module):
    """A detector whose outputs need no knowledge of priors: boxes in input pixels, and scores."""

    def __init__(self, model: RTMDet, *, clip: bool) -> None:
        """`clip`: boxes end at the input's border, and those without area score 0, as NMS needs it."""
        super().__init__()
        self.model = model
        self.clip = clip

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) uint8 RGB -> boxes (B, P, 4) xyxy and scores (B, P, K), both float32."""
        boxes, scores = [], []
        for logits, distances, stride in zip(*self.model(images), STRIDES, strict=True):
            points, _ = grid_priors([(logits.shape[2], logits.shape[3])], strides=[stride], device=images.device)
            boxes.append(decode_distances(points, distances.flatten(2).transpose(1, 2)))
            scores.append(logits.float().sigmoid().flatten(2).transpose(1, 2))
        every_box, every_score = torch.cat(boxes, 1), torch.cat(scores, 1)
        return self._clipped(every_box, every_score, images) if self.clip else (every_box, every_score)

    def _clipped(self, boxes: Tensor, scores: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        x, y = boxes[..., 0::2].clamp(0, images.shape[3]), boxes[..., 1::2].clamp(0, images.shape[2])
        boxes = torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)
        real = (x[..., 1] > x[..., 0]) & (y[..., 1] > y[..., 0])  # (B, P)
        return boxes, scores * real[..., None]


def trace_onnx(model: RTMDet, facts: ExportFacts, *, half: bool = False) -> onnx.ModelProto:
    """The network as a graph, without facts and NMS, for all batches and multiples of 32 unless the facts fix them.

    Outputs are boxes (B, P, 4) xyxy in input pixels and scores (B, P, K). Batch norms are merged, weights have their
    names in the model. `half`: weights and calculation in 16 bits.
    """
    plain = copy.deepcopy(fold_batch_norms(model)).cpu().to(memory_format=torch.contiguous_format)
    network = DecodedModel(plain.half() if half else plain.float(), clip=facts.nms is not None).eval()
    example, shapes = _example(facts)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["boxes", "scores"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None, "with dynamo=True there is always one"
    proto = program.model_proto
    _drop_origins(proto)
    return proto


def finish_onnx(graph: onnx.ModelProto, facts: ExportFacts, path: Path) -> None:
    """Write a traced network, which stays as it is, with its facts. Raises InputError if it cannot be written.

    With NMS the outputs are `image` (N,), boxes (N, 4), scores (N,) and labels (N,), by falling score.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(graph)
    if facts.nms is not None:
        _append_nms(proto, facts.nms)
    helper.set_model_props(proto, facts.to_text())
    onnx.checker.check_model(proto)
    write_whole(path, proto.SerializeToString())


def _drop_origins(proto: onnx.ModelProto) -> None:
    """Remove what torch notes at each part of a graph: its place in source files, with this machine's paths."""
    graph = proto.graph
    parts: list[Any] = [*graph.input, *graph.output, *graph.initializer]
    for owner in (graph, *proto.functions):
        parts += [owner, *owner.node, *owner.value_info]
    for part in parts:
        del part.metadata_props[:]


def _example(facts: ExportFacts) -> tuple[Tensor, tuple[dict[int, object], ...]]:
    """An input to trace with, and which of its dimensions may vary."""
    height, width = facts.model.input_size
    varying: dict[int, object] = {}
    if facts.fixed_batch is None:
        varying[0] = Dim("batch", min=1, max=LARGEST_BATCH)
    if not facts.fixed_input:
        varying |= {2: 32 * Dim("rows", min=1, max=LARGEST_SIDE), 3: 32 * Dim("columns", min=1, max=LARGEST_SIDE)}
        height, width = 64, 96  # the graph does not depend on it
    return torch.zeros(facts.fixed_batch or 2, 3, height, width, dtype=torch.uint8), (varying,)


def _append_nms(proto: onnx.ModelProto, nms: NmsFacts) -> None:
    """Replace the outputs boxes and scores by those that are left after NMS per image and class."""
    graph = proto.graph
    constants: dict[str, np.ndarray] = {
        "nms_most": np.array([nms.most], np.int64),
        "nms_iou": np.array([nms.iou], np.float32),
        "nms_score": np.array([nms.score], np.float32),
        "nms_0": np.array(0, np.int64),
        "nms_1": np.array(1, np.int64),
        "nms_image_and_prior": np.array([0, 2], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    renamed = {"boxes": "all_boxes", "scores": "all_scores"}  # the names of the outputs go to what is left
    for node in graph.node:
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.input[:] = [renamed.get(name, name) for name in node.input]
    node = helper.make_node
    graph.node.extend([
        node("Transpose", ["all_scores"], ["class_scores"], perm=[0, 2, 1]),  # (B, K, P)
        node("NonMaxSuppression", ["all_boxes", "class_scores", "nms_most", "nms_iou", "nms_score"], ["kept"]),
        node("GatherND", ["class_scores", "kept"], ["kept_scores"]),  # kept: (N, 3) image, class, prior
        node("Shape", ["kept_scores"], ["count"]),
        node("TopK", ["kept_scores", "count"], ["scores", "order"]),
        node("Gather", ["kept", "order"], ["sorted"]),
        node("Gather", ["sorted", "nms_0"], ["image"], axis=1),
        node("Gather", ["sorted", "nms_1"], ["labels"], axis=1),
        node("Gather", ["sorted", "nms_image_and_prior"], ["places"], axis=1),
        node("GatherND", ["all_boxes", "places"], ["boxes"]),
    ])  # fmt: skip
    del graph.output[:]
    graph.output.extend([
        helper.make_tensor_value_info("image", TensorProto.INT64, ["detections"]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["detections", 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["detections"]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, ["detections"]),
    ])  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's reports on its progress; what goes wrong is raised."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
