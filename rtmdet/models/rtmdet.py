"""RTMDet: backbone, neck and head joined, from uint8 images to dense outputs. Paper: section 3.

Dimension legend: B batch, K classes, H, W height and width of the input.
"""

import torch
from torch import Tensor, nn

from rtmdet.core.arguments import checked
from rtmdet.core.errors import InputError
from rtmdet.core.structures import DenseOutputs
from rtmdet.core.wrappers import unwrap
from rtmdet.models.backbone import CSPNeXt, scaled_channels
from rtmdet.models.head import RTMDetHead
from rtmdet.models.neck import CSPPAFPN
from rtmdet.models.timm_backbone import TimmBackbone, build_timm_backbone
from rtmdet.models.zoo import BGR_MEAN, BGR_STD, SIZES


class RTMDet(nn.Module):
    """The detector. Its state_dict has OpenMMLab's names and values: `backbone.`, `neck.`, `bbox_head.`."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, neck: CSPPAFPN, head: RTMDetHead) -> None:
        """`backbone` is called with normalized BGR (B, 3, H, W) and returns three maps, of strides 8, 16 and 32."""
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.bbox_head = head
        self.register_buffer("mean", torch.tensor(BGR_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(BGR_STD).view(1, 3, 1, 1), persistent=False)

    @property
    def backbone_name(self) -> str:
        """`timm/<name>`, which is enough to rebuild the backbone; empty for CSPNeXt."""
        return self.backbone.name if isinstance(self.backbone, TimmBackbone) else ""

    def forward(self, images: Tensor) -> DenseOutputs:
        """(B, 3, H, W) uint8 RGB, H and W multiples of 32 -> class logits and distances at every prior.

        Values are 0 .. 255, also as floats. Raises InputError for another shape, and for floats from 0 to 1.
        """
        if isinstance(images, Tensor) and not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            _check_shape(images)
            _check_range(images)
        return self.bbox_head(self.neck(self.backbone(self.normalize(images))))

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 RGB -> normalized BGR in the model's dtype: the only place where channels are reordered."""
        return (images.flip(1).to(self.mean.dtype) - self.mean) / self.std


def network_inside(model: object) -> RTMDet:
    """The detector inside torch.compile, parallel training or AveragedModel. Raises InputError for another one."""
    network = unwrap(model)[0] if isinstance(model, nn.Module) else model
    if not isinstance(network, RTMDet):
        raise InputError(f"model: expected an RTMDet, found {type(network).__name__}: give one of build_rtmdet")
    return network


def _check_shape(images: Tensor) -> None:
    """Raise InputError for what would be read as another image, or fail inside the network."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or any(side < 32 or side % 32 for side in shape[2:]):
        raise InputError(
            f"images: expected (B, 3, H, W), H and W multiples of 32, found {shape}; a Detector takes pictures of "
            "any size"
        )


def _check_range(images: Tensor) -> None:
    """Raise InputError for floats from 0 to 1, in which the network would see black."""
    if type(images) is not Tensor or not images.is_floating_point():
        return
    if images.is_cuda and torch.cuda.is_current_stream_capturing():
        return
    if bool((images.detach().amax() <= 1) & (images.detach() % 1).any()):
        raise InputError(
            "images: expected values from 0 to 255, found floats from 0 to 1: multiply them by 255, or give uint8"
        )


@checked
def build_rtmdet(size: str, num_classes: int, *, backbone: str | None = None, pretrained: bool = False) -> RTMDet:
    """A model of a published size (a key of zoo.SIZES), randomly initialized.

    `backbone` = `timm/<name>` replaces CSPNeXt; neck and head stay those of the size, and the neck's input channels
    follow the backbone's maps. `pretrained` downloads timm's weights for it and has no effect without it. Raises
    InputError for a size or backbone that does not exist or cannot be used, for weights that cannot be downloaded and
    for fewer than one class.
    """
    if size not in SIZES:
        raise InputError(f"model size {size!r} does not exist: choose one of {', '.join(SIZES)}")
    if num_classes < 1:
        raise InputError(f"a detector needs at least one class, found {num_classes}")
    s = SIZES[size]
    maps = (
        CSPNeXt(s.deepen, s.widen, depthwise=s.depthwise)
        if backbone is None
        else build_timm_backbone(backbone, pretrained=pretrained)
    )
    channels = scaled_channels(s.widen)[2]
    neck = CSPPAFPN(maps.out_channels, channels, blocks=s.neck_blocks, depthwise=s.depthwise)
    head = RTMDetHead(channels, num_classes, exponential=s.exponential, shared=s.shared_head, depthwise=s.depthwise)
    return RTMDet(maps, neck, head)


def synchronize_batch_norms(model: RTMDet) -> RTMDet:
    """The model with synchronized batch norms: statistics over all processes; for CUDA."""
    if not isinstance(model.backbone, TimmBackbone):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    from timm.layers import convert_sync_batchnorm  # torch's version drops the activations inside timm's batch norms

    return convert_sync_batchnorm(model)
