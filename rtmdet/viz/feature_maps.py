"""Feature maps: what a layer responds to, its channels reduced to one map as in OpenMMLab's feature map demo."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.strides import STRIDES
from rtmdet.viz.heatmap import content_part

Tile = tuple[str, np.ndarray | None]  # title and map
REDUCTIONS = ("squeeze_mean", "select_max", "topk")
MOST_COLUMNS = 4
_HEAD = "bbox_head"  # outputs the class logits of all levels, then the box distances


def reduce_maps(
    layer: str,
    maps: Sequence[Tensor],
    reduction: str,
    *,
    topk: int,
    content: tuple[int, int],
    input_size: tuple[int, int],
) -> list[list[Tile]]:
    """Titles and maps (h, w) to draw for each of a layer's outputs (1, C, h, w), which span the input (H, W).

    squeeze_mean is the mean over the channels, select_max the channel with the greatest sum over the area, topk the
    `topk` channels with the greatest sums. Raises InputError if the layer's outputs are not maps. Differs from mmdet:
    sums are over `content` (H, W), the input without its padding, which would often decide them.
    """
    if not maps or any(output.ndim != 4 for output in maps):
        shapes = ", ".join(str(tuple(output.shape)) for output in maps) or "nothing"
        raise InputError(f"layer {layer!r} outputs {shapes}, expected maps (1, C, H, W): choose another layer")
    reduced: list[list[Tile]] = []
    for index, output in enumerate(maps):
        channels = output[0].float().cpu()
        what = "" if layer != _HEAD else " class logits" if 2 * index < len(maps) else " box distances"
        name = f"{layer}{what}, stride {input_size[0] // channels.shape[1]}"
        sums = content_part(channels, content, input_size).sum((1, 2))
        best = sums.topk(min(topk, len(channels))).indices.tolist()
        if reduction == "topk":
            reduced.append([(f"{name}, channel: {channel}", channels[channel].numpy()) for channel in best])
        else:
            heat = channels.mean(0) if reduction == "squeeze_mean" else channels[best[0]]
            size = " x ".join(map(str, channels.shape))
            reduced.append([(f"{name}, {reduction} of {size}", heat.numpy())])
    return reduced


def arrange(maps: Sequence[Sequence[Tile]]) -> tuple[list[Tile], int]:
    """The tiles of all maps row by row, None for an empty place, and the number of columns.

    The tiles of each map begin a row; maps with a single tile share rows of three, as many as there are levels.
    """
    if max(map(len, maps)) == 1:
        return [tile for tiles in maps for tile in tiles], min(len(maps), len(STRIDES))
    columns = min(max(map(len, maps)), MOST_COLUMNS)
    return [tile for tiles in maps for tile in (*tiles, *[("", None)] * (-len(tiles) % columns))], columns
