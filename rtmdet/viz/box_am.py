"""Box AM: where the network looked for its boxes. Class activation maps with a target for detectors.

pytorch-grad-cam provides activations, gradients and channel ablation; the maps follow the Box AM demo of mmyolo.
Importing it takes seconds, so this module is imported only when needed.
Dimension legend: C channels, H, W of the layer's map, N boxes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_grad_cam import ablation_cam
from pytorch_grad_cam.ablation_cam import AblationCAM
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.find_layers import replace_layer_recursive
from torch import Tensor, nn
from tqdm import tqdm

from rtmdet.core.errors import InputError
from rtmdet.core.structures import DenseOutputs
from rtmdet.viz.box_targets import BoxTarget, source_levels
from rtmdet.viz.heatmap import content_part, on_picture, unit_range
from rtmdet.viz.hooks import capture, find_layer, flatten_outputs

# The library's own progress bar would be drawn even without a terminal.
ablation_cam.tqdm = SimpleNamespace(tqdm=partial(tqdm, disable=None, leave=False, desc="ablating channels"))


@torch.inference_mode(False)
@torch.enable_grad()
def box_am(
    model: nn.Module,
    layer: str,
    images: Tensor,
    target: BoxTarget,
    method: str,
    *,
    content: tuple[int, int] | None = None,
) -> np.ndarray:
    """The raw activation map (H, W) of a layer for one image, float32: neither clipped nor scaled.

    `model` is in evaluation mode and maps `images` (1, 3, H, W) to DenseOutputs, from which `target` computes the
    number to explain; eigencam explains no number, it shows what varies most in `content` (H, W), the images without
    their padding, by default all. `method` is gradcam, gradcam++, eigencam or ablationcam. Raises InputError if the
    layer does not exist or outputs no maps, or several maps with a method other than eigencam.
    """
    maps = _maps_of(model, layer, images)
    if method == "eigencam":
        input_size = images.shape[2], images.shape[3]
        return _principal_component(_join(maps), content or input_size, input_size)
    if len(maps) > 1:
        raise InputError(
            f"layer {layer!r} outputs {len(maps)} maps, {method} needs a layer with one map: "
            "choose another, such as neck.out_convs[0]; --layer may be repeated"
        )
    if method == "ablationcam":
        with torch.no_grad():
            if not target(model(images)):  # avoids a division by zero in the library
                return np.zeros(tuple(maps[0].shape[2:]), np.float32)
    with _parameters_aside(model):
        return _METHODS[method](model, find_layer(model, layer)).raw_map(_with_gradient(images), target)


@torch.inference_mode(False)
@torch.enable_grad()
def fed_levels(model: nn.Module, layer: str, images: Tensor) -> set[int]:
    """The levels of the DenseOutputs, 0 the finest, that depend on a layer's output for images (1, 3, H, W)."""
    given: list[Tensor] = []
    hook = find_layer(model, layer).register_forward_hook(lambda _, __, output: given.extend(flatten_outputs(output)))
    try:
        outputs = model(_with_gradient(images))
    finally:
        hook.remove()
    given = [output for output in given if output.requires_grad]
    if not given:  # a layer that is not called
        return set()
    totals = [logits.sum() + distances.sum() for logits, distances in zip(*outputs, strict=True)]
    return {
        level
        for level, total in enumerate(totals)
        if any(part is not None for part in torch.autograd.grad(total, given, retain_graph=True, allow_unused=True))
    }


def fed_boxes(model: nn.Module, layers: Sequence[str], images: Tensor, boxes: Tensor) -> dict[str, np.ndarray]:
    """(N,) bool per layer: which boxes (N, 4), in input pixels, come from a pyramid level that the layer feeds."""
    with torch.no_grad():
        levels = source_levels(model(images), boxes, (images.shape[2], images.shape[3])).cpu().numpy()
    return {layer: np.isin(levels, list(fed_levels(model, layer, images))) for layer in layers}


def merge_maps(maps: Sequence[np.ndarray], picture_size: tuple[int, int], input_size: tuple[int, int]) -> np.ndarray:
    """The mean of layers' raw maps over the letterboxed picture of (H, W): float32 in 0 .. 1."""
    layers = [unit_range(on_picture(np.maximum(raw, 0), picture_size, input_size)) for raw in maps]
    return unit_range(np.mean(layers, axis=0))


def normalize_in_boxes(heat: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The map (H, W) scaled to 0 .. 1 within each of boxes (N, 4), in its pixels, and 0 elsewhere.

    Where boxes overlap, the greater value is used.
    """
    result = np.zeros_like(heat)
    for x1, y1, x2, y2 in boxes.clip(min=0).astype(int):
        region = heat[y1:y2, x1:x2]
        if region.size:
            result[y1:y2, x1:x2] = np.maximum(result[y1:y2, x1:x2], unit_range(region))
    return unit_range(result)


class _OneImage(nn.Module):
    """The model with outputs as pytorch-grad-cam expects them: a list with one item per image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[DenseOutputs]:
        return [self.model(images)]


class _RawCAM(BaseCAM):
    """pytorch-grad-cam up to the raw map: its own scaling would include the letterbox padding."""

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        super().__init__(_OneImage(model), [layer], reshape_transform=torch.abs)

    def raw_map(self, images: Tensor, target: BoxTarget) -> np.ndarray:
        """Run the method; hooks are always removed afterward."""
        try:
            return self(images, [target])[0]
        finally:
            self.activations_and_grads.release()

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: list[BoxTarget], eigen_smooth: bool) -> np.ndarray:
        activations = self.activations_and_grads.activations[0].numpy()  # (1, C, H, W)
        # A layer that does not affect the target receives no gradient at all.
        gradients = [gradient.numpy() for gradient in self.activations_and_grads.gradients]
        gradient = gradients[0] if gradients else np.zeros_like(activations)
        return self.get_cam_image(input_tensor, self.target_layers[0], targets, activations, gradient)

    def aggregate_multi_layers(self, cam_per_target_layer: np.ndarray) -> np.ndarray:
        return cam_per_target_layer  # (1, H, W)


class _GradCAM(_RawCAM):
    """Activation x gradient at each place. As in mmyolo, the gradient is not averaged over the area."""

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: list[BoxTarget],
        activations: np.ndarray,
        grads: np.ndarray,
    ) -> np.ndarray:
        return (self.weights(activations, grads) * activations).sum(1)

    def weights(self, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """(1, C, H, W), both absolute values, to weights of the same shape."""
        return gradients


class _GradCAMPlusPlus(_GradCAM):
    """Gradients weighted by the second-order formula of arXiv 1710.11063, equation 19."""

    def weights(self, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        total = activations.sum((2, 3), keepdims=True)
        alpha = gradients**2 / (2 * gradients**2 + total * gradients**3 + 1e-6)
        return alpha * gradients


class _AblationCAM(_RawCAM, AblationCAM):
    """The weight of a channel is the share of the target that is lost when it is set far below its values."""

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        # One channel at a time: in larger batches the library's ablation value decreases with every channel.
        AblationCAM.__init__(self, _OneImage(model), [layer], torch.abs, ablation_layer=AblationLayer(), batch_size=1)

    def raw_map(self, images: Tensor, target: BoxTarget) -> np.ndarray:
        try:
            return super().raw_map(images, target)
        finally:  # the library leaves its own layer in the model when a forward pass fails
            replace_layer_recursive(self.model, self.ablation_layer, self.target_layers[0])

    def save_activation(self, module: nn.Module, input: object, output: Tensor) -> None:
        self.activations = output.clone()  # the next layer can be an in-place activation


_METHODS = {"gradcam": _GradCAM, "gradcam++": _GradCAMPlusPlus, "ablationcam": _AblationCAM}


@contextmanager
def _parameters_aside(model: nn.Module) -> Iterator[None]:
    """Without gradients of the parameters; those that a training has accumulated are there again afterward."""
    kept = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _, _ in kept:
            parameter.grad = None
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, gradient, needed in kept:
            parameter.requires_grad_(needed)
            parameter.grad = gradient


def _with_gradient(images: Tensor) -> Tensor:
    """A copy of the images from which gradients begin, so that they reach all layers even of a frozen network."""
    return images.clone().float().requires_grad_()


def _maps_of(model: nn.Module, layer: str, images: Tensor) -> list[Tensor]:
    """Absolute values of the maps (1, C, H, W) that a layer outputs."""
    with torch.no_grad(), capture(model, [layer]) as outputs:
        model(images)
    maps = outputs[layer]
    if not maps or any(map.ndim != 4 for map in maps):
        shapes = ", ".join(str(tuple(map.shape)) for map in maps) or "nothing"
        raise InputError(f"layer {layer!r} outputs {shapes}, Box AM needs maps (1, C, H, W): choose another layer")
    return [map.abs() for map in maps]


def _join(maps: Sequence[Tensor]) -> Tensor:
    """Maps of several sizes, stretched to the largest, with all their channels: (C, H, W)."""
    height, width = max((map.shape[2], map.shape[3]) for map in maps)
    return torch.cat([F.interpolate(map, (height, width), mode="bilinear") for map in maps], dim=1)[0]


def _principal_component(maps: Tensor, content: tuple[int, int], input_size: tuple[int, int]) -> np.ndarray:
    """The first principal component (H, W) of maps (C, H, W) over the positions in the content.

    Its greater peak there is positive. Differs from mmdet in `content`: what differs most is often the padding.
    """
    # Not the library's: it takes seconds to compute all H x W left singular vectors, which are not needed.
    maps = maps.float()  # NumPy decomposes no 16-bit numbers
    inside = content_part(maps, content, input_size).flatten(1).T.cpu().numpy()  # (positions, C)
    mean = inside.mean(0)
    direction = np.linalg.svd(inside - mean, full_matrices=False)[2][0]  # (C,)
    component = ((maps.flatten(1).T.cpu().numpy() - mean) @ direction).reshape(maps.shape[1:])
    seen = content_part(component, content, input_size)
    return component if seen.max() >= -seen.min() else -component
