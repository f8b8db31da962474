"""RTMDet: backbone, neck and head joined, from uint8 images to dense outputs. Paper: section 3.

Dimension legend: B batch, K classes, H, W height and width of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtmdet.models.backbone import CSPNeXt
from rtmdet.models.head import RTMDetHead
from rtmdet.models.neck import CSPPAFPN
from rtmdet.models.zoo import SIZES
from rtmdet.structures import DenseOutputs, InputError

# ImageNet statistics in the order blue, green, red, on 0 .. 255: what the published weights were trained with.
BGR_MEAN = (103.53, 116.28, 123.675)
BGR_STD = (57.375, 57.12, 58.395)


class RTMDet(nn.Module):
    """The detector. Its state_dict has OpenMMLab's names and values: `backbone.`, `neck.`, `bbox_head.`."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: CSPNeXt, neck: CSPPAFPN, head: RTMDetHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.bbox_head = head
        self.register_buffer("mean", torch.tensor(BGR_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(BGR_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> DenseOutputs:
        """(B, 3, H, W) uint8 RGB, H and W multiples of 32 -> class logits and distances at every prior."""
        return self.bbox_head(self.neck(self.backbone(self.normalize(images))))

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 RGB -> normalised BGR in the model's dtype: the one place where channels change their order."""
        return (images.flip(1).to(self.mean.dtype) - self.mean) / self.std


def build_rtmdet(size: str, num_classes: int) -> RTMDet:
    """A published size (a key of zoo.SIZES) with fresh weights.

    Raises InputError for a size that does not exist and for fewer than one class.
    """
    if size not in SIZES:
        raise InputError(f"model size {size!r} does not exist: choose one of {', '.join(SIZES)}")
    if num_classes < 1:
        raise InputError(f"a detector needs at least one class, found {num_classes}")
    s = SIZES[size]
    backbone = CSPNeXt(s.deepen, s.widen, depthwise=s.depthwise)
    channels = backbone.out_channels[0]
    neck = CSPPAFPN(backbone.out_channels, channels, blocks=s.neck_blocks, depthwise=s.depthwise)
    head = RTMDetHead(channels, num_classes, exponential=s.exponential, shared=s.shared_head, depthwise=s.depthwise)
    return RTMDet(backbone, neck, head)
