"""Backbones of timm: any of its models with feature maps of strides 8, 16 and 32, as `timm/<name>`.

timm is imported inside functions, because that takes seconds and CSPNeXt models do not need it.
Dimension legend: B batch, C channels, H, W height and width of the input.
"""

import contextlib
import copy
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rtmdet.core.errors import InputError
from rtmdet.core.processes import environment_variable
from rtmdet.core.strides import STRIDES
from rtmdet.core.wording import one_line
from rtmdet.models.zoo import BGR_MEAN, BGR_STD

PREFIX = "timm/"
TRIAL_SIZE = (96, 160)  # (H, W): multiples of 32, not square, not the usual size of a classifier


@dataclass(frozen=True, slots=True)
class MapLayout:
    """Position and layout of the three feature maps among all outputs of a timm model."""

    indices: tuple[int, ...]  # for timm's out_indices
    channels: tuple[int, ...]
    channels_last: bool  # maps are (B, H, W, C)
    strict_img_size: bool | None  # False lets window models take any size; None: no such option


class TimmBackbone(nn.Module):
    """A features_only model of timm in place of CSPNeXt.

    `scale` and `shift` (R, G, B) convert RTMDet's normalized input to the normalization of the model. `name` is
    timm/<architecture>.<weights>, so that later versions of timm give the same model and normalization.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, features: nn.Module, layout: MapLayout, *, name: str, scale: Sequence[float], shift: Sequence[float]
    ) -> None:
        super().__init__()
        self.features = features
        self.name = name
        self.out_channels = layout.channels
        self.channels_last = layout.channels_last
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalized BGR -> maps of strides 8, 16, 32 with `out_channels` channels."""
        maps = self.features(x.flip(1) * self.scale + self.shift)
        return tuple(y.permute(0, 3, 1, 2) if self.channels_last else y for y in maps)  # (B, C, H, W)


def build_timm_backbone(name: str, *, pretrained: bool) -> TimmBackbone:
    """The backbone `timm/<name>`, with timm's published weights or randomly initialized.

    Raises InputError for names unknown to timm, for models without maps of strides 8, 16 and 32 or with a fixed
    input size, and for weights that cannot be downloaded.
    """
    import timm

    _check_name(name)
    layout = _find_layout(name)
    try:
        # torch.load then refuses code in any call: some loaders of timm fall back to full pickles.
        with environment_variable("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1"):
            features = timm.create_model(
                name.removeprefix(PREFIX),
                pretrained=pretrained,
                features_only=True,
                out_indices=layout.indices,
                strict_img_size=layout.strict_img_size,
            )
    except Exception as error:
        raise InputError(
            f"backbone {name}: timm's pretrained weights cannot be loaded ({one_line(error)}): set "
            "model.backbone_pretrained=false, or download them once and keep the cache (HF_HOME)"
        ) from error
    trained: Any = features.pretrained_cfg
    name = PREFIX + ".".join(filter(None, (trained["architecture"], trained.get("tag"))))
    scale, shift = _normalization(trained["mean"], trained["std"])
    return TimmBackbone(features, layout, name=name, scale=scale, shift=shift)


def freeze_unused(backbone: TimmBackbone) -> list[str]:
    """Freeze parameters that no feature map depends on; returns their names."""
    # Some networks have layers after their last map; DDP would wait for their gradients. A copy on the meta device
    # computes shapes only.
    outline = copy.deepcopy(backbone).to("meta").eval().requires_grad_(True)
    maps = outline(torch.zeros(1, 3, *TRIAL_SIZE, device="meta"))
    torch.stack([y.sum() for y in maps]).sum().backward()
    unused = {name for name, parameter in outline.named_parameters() if parameter.grad is None}
    for name, parameter in backbone.named_parameters():
        if name in unused:
            parameter.requires_grad_(False)
    return sorted(unused)


def _normalization(mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """Scale and shift from (pixel - BGR_MEAN) / BGR_STD to (pixel / 255 - mean) / std, in the order R, G, B."""
    channels = list(zip(mean, std, reversed(BGR_MEAN), reversed(BGR_STD), strict=True))
    scale = [given_std / (255 * s) for _, s, _, given_std in channels]
    shift = [(given_mean / 255 - m) / s for m, s, given_mean, _ in channels]
    return scale, shift


def _check_name(name: str) -> None:
    """Raise InputError for names not in timm's list, which also rules out hub addresses and folders."""
    import timm

    architecture, _, weights = name.removeprefix(PREFIX).partition(".")
    if not name.startswith(PREFIX) or not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5) or ["resnet18"]
        nearest = ", ".join(PREFIX + other for other in near)
        raise InputError(f"backbone {name}: expected timm/<name of a timm model>, nearest: {nearest}")
    try:
        timm.get_pretrained_cfg(name.removeprefix(PREFIX))
    except RuntimeError as error:
        published = timm.list_models(f"{architecture}.*", pretrained=True)
        known = ", ".join(PREFIX + other for other in published) or "none"
        raise InputError(
            f"backbone {name}: timm has no weights {weights!r} for {architecture}, only: {known}"
        ) from error


def _find_layout(name: str) -> MapLayout:
    """Try the model on the meta device, which computes shapes only."""
    import timm

    model = name.removeprefix(PREFIX)
    try:
        with torch.device("meta"):
            info: Any = timm.create_model(model, features_only=True).feature_info
    except Exception as error:
        raise InputError(f"backbone {name}: timm provides no feature maps for it ({one_line(error)})") from error
    strides = info.reduction(list(range(len(info))))
    if not set(STRIDES) <= set(strides):
        found = ", ".join(map(str, dict.fromkeys(strides)))
        raise InputError(
            f"backbone {name}: expected maps of strides 8, 16 and 32, found {found}: choose a convolutional or "
            "hierarchical model, such as timm/resnet18"
        )
    last = {stride: index for index, stride in enumerate(strides)}
    indices = tuple(last[stride] for stride in STRIDES)
    try:
        return _try_maps(model, indices, strict_img_size=None)
    except Exception as error:
        with contextlib.suppress(Exception):  # the reason of the first trial is the informative one
            return _try_maps(model, indices, strict_img_size=False)
        height, width = TRIAL_SIZE
        raise InputError(
            f"backbone {name}: expected to work at any multiples of 32 pixels, at {height} x {width} it does not "
            f"({one_line(error)}): choose a convolutional model, such as timm/resnet18"
        ) from error


def _try_maps(model: str, indices: tuple[int, ...], *, strict_img_size: bool | None) -> MapLayout:
    """The layout of a model that gives maps of the right sizes for TRIAL_SIZE; raises any error of the model."""
    import timm

    with torch.device("meta"), torch.no_grad():
        features = timm.create_model(
            model, features_only=True, out_indices=indices, strict_img_size=strict_img_size
        ).eval()
        shapes = [y.shape for y in features(torch.zeros(1, 3, *TRIAL_SIZE))]
    channels_last = getattr(features, "output_fmt", None) == "NHWC"
    sizes = [tuple(shape[1:3] if channels_last else shape[2:]) for shape in shapes]
    expected = [(TRIAL_SIZE[0] // stride, TRIAL_SIZE[1] // stride) for stride in STRIDES]
    if sizes != expected:
        raise ValueError(f"its maps have sizes {sizes} instead of {expected}")
    channels = tuple(shape[-1 if channels_last else 1] for shape in shapes)
    return MapLayout(indices, channels, channels_last, strict_img_size)
