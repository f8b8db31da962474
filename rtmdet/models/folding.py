"""Folding batch norms into the convolutions before them: same outputs, less memory traffic."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rtmdet.models.layers import ConvBNAct
from rtmdet.models.rtmdet import RTMDet

MERGED = "the batch norms of this detector are merged: open it with fold=False"  # what cannot be undone


def is_folded(model: RTMDet) -> bool:
    """Whether the batch norms of neck and head are in their convolutions; a timm backbone keeps its own."""
    return not any(isinstance(layer, nn.BatchNorm2d) for layer in model.bbox_head.modules())


def fold_batch_norms(model: RTMDet) -> RTMDet:
    """A copy of the model, in evaluation mode, whose ConvBNAct layers have a convolution with bias and no norm.

    Convolutions shared between levels of the head are duplicated, because each level has its own norm.
    """
    folded = copy.deepcopy(model).eval()
    for layer in folded.modules():
        if isinstance(layer, ConvBNAct) and isinstance(layer.bn, nn.BatchNorm2d):
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.bn)
            layer.bn = nn.Identity().eval()  # type: ignore[assignment]
    return folded
