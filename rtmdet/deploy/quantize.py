"""Post-training quantization to int8 by NNCF, of networks that deploy.onnx_file has traced.

Never by ONNX Runtime's own minmax rule, which cost the nano person detector a quarter of its AP (0.728 -> 0.554).
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.wording import one_line
from rtmdet.deploy.telemetry import refuse_telemetry

refuse_telemetry()
try:
    import nncf
    import onnx
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet
except ImportError as error:
    raise InputError(
        f'int8 needs the package {error.name or "nncf"}, which is missing: pip install "plain-rtmdet[int8]"'
    ) from error

HISTOGRAM = RangeEstimatorParametersSet.HISTOGRAM  # of least error: AP by -0.007 to +0.012, docs/int8.md
LAST_LAYERS = ("bbox_head.rtm_cls", "bbox_head.rtm_reg")  # what follows them decodes boxes and is never quantized


def quantize_onnx(
    proto: onnx.ModelProto, images: Iterable[np.ndarray], *, count: int, float_layers: Sequence[str] = ()
) -> onnx.ModelProto:
    """The network with int8 convolutions: symmetric weights, asymmetric activations of ranges found on `images`.

    `images` are `count` network inputs, (B, 3, H, W) uint8 RGB; they are iterated more than once. The decoding of
    the boxes stays in float, and so do the depthwise convolutions, which hardly take time and cost people most AP in
    8 bits (docs/int8.md), and those whose names start with one of `float_layers`.
    """
    with _quiet(), _refused():
        return cast(
            onnx.ModelProto,
            nncf.quantize(
                proto,
                nncf.Dataset(images, lambda image: {"images": image}),
                preset=nncf.QuantizationPreset.MIXED,
                target_device=nncf.TargetDevice.CPU,
                subset_size=count,
                ignored_scope=nncf.IgnoredScope(names=_float_nodes(proto, float_layers)),
                advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=HISTOGRAM),
            ),
        )


def layer_of(node: onnx.NodeProto) -> str:
    """The name of a convolution's layer in the network, such as bbox_head.rtm_cls.0; empty for other nodes."""
    return node.input[1].removeprefix("model.").removesuffix(".weight") if node.op_type == "Conv" else ""


def _float_nodes(proto: onnx.ModelProto, float_layers: Sequence[str]) -> list[str]:
    """The names of the nodes that are not quantized.

    NNCF alone would round box distances, which reach hundreds of pixels, to 256 values.
    """
    one_channel = {each.name for each in proto.graph.initializer if len(each.dims) == 4 and each.dims[1] == 1}
    names: list[str] = []
    decoded: set[str] = set()
    for node in proto.graph.node:  # every node comes after those that it reads
        decodes = not decoded.isdisjoint(node.input)
        if decodes or layer_of(node).startswith(LAST_LAYERS):
            decoded.update(node.output)
        depthwise = node.op_type == "Conv" and node.input[1] in one_channel
        if decodes or depthwise or layer_of(node).startswith(tuple(float_layers)):
            names.append(node.name)
    return names


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Turn what NNCF raises for values that it finds no ranges of, such as those of a dead layer, into InputError."""
    try:
        yield
    except InputError:  # of an image
        raise
    except ValueError as error:
        raise InputError(
            f"int8: NNCF finds no ranges of the network's values ({one_line(error)[:200]}): is the network trained, "
            "and are the images like those that it was trained on?"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's log and bars: the images have a bar of their own."""
    nncf.set_log_level(40)  # errors
    with contextlib.redirect_stdout(io.StringIO()):
        yield
