"""Feature maps: what a layer responds to, its channels reduced to one map as in OpenMMLab's feature map demo."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from rtmdet.core.errors import InputError

REDUCTIONS = ("squeeze_mean", "select_max", "topk")


def reduce_maps(layer: str, maps: Sequence[Tensor], reduction: str, topk: int) -> list[tuple[str, np.ndarray]]:
    """Titles and maps (h, w) to draw of a layer's outputs (1, C, h, w).

    squeeze_mean is the mean over the channels, select_max the channel with the greatest sum over the area, topk the
    `topk` channels with the greatest sums. Raises InputError if the layer's outputs are not maps.
    """
    if not maps or any(output.ndim != 4 for output in maps):
        shapes = ", ".join(str(tuple(output.shape)) for output in maps) or "nothing"
        raise InputError(f"layer {layer!r} outputs {shapes}, expected maps (1, C, H, W): choose another layer")
    reduced = []
    for index, output in enumerate(maps):
        channels = output[0].float().cpu()
        name = f"{layer}, map {index}" if len(maps) > 1 else layer
        size = f"{len(channels)} x {channels.shape[1]} x {channels.shape[2]}"
        best = channels.sum((1, 2)).topk(min(topk, len(channels))).indices.tolist()
        if reduction == "topk":
            reduced += [(f"{name}, channel: {channel}", channels[channel].numpy()) for channel in best]
        else:
            heat = channels.mean(0) if reduction == "squeeze_mean" else channels[best[0]]
            reduced.append((f"{name}, {reduction} of {size}", heat.numpy()))
    return reduced
