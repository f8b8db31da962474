"""`rtmdet visualize`: feature maps or Box AM of a detector's layers, drawn over a photo with its detections."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from rtmdet.cli.model_options import check_score, describe_score, load_detector
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import fitted_size
from rtmdet.data.images import read_image
from rtmdet.detector import Detector
from rtmdet.viz.box_targets import BoxTarget, box_loss_target, class_score_target, detection_target
from rtmdet.viz.draw import save_image
from rtmdet.viz.feature_maps import select_max, squeeze_mean, top_channels
from rtmdet.viz.grid import grid
from rtmdet.viz.heatmap import brighten, heat_map, on_picture, overlay
from rtmdet.viz.hooks import capture, find_layer, layer_names

FEATURE_LAYERS = ["neck"]
BOX_AM_LAYERS = ["neck.out_convs[2]"]
CELL = (640, 640)  # (H, W) pixels that a feature map's picture is fitted into
COLUMNS = 2


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths, or print the names of the layers."""
    _check(arguments)
    detector = load_detector(arguments, fold=False)
    if arguments.list_layers:
        print("\n".join(layer_names(detector.model)))
        return 0
    image = read_image(arguments.image, detector.value_range)
    print(describe_score(arguments.score, detector, detector.classes))
    if arguments.method:
        draw_box_am(detector, image, arguments)
    else:
        draw_feature_maps(detector, image, arguments)
    return 0


def draw_feature_maps(detector: Detector, image: np.ndarray, arguments: argparse.Namespace) -> None:
    """One picture a layer: a tile for each of its maps, or for each of their best channels."""
    layers = _unique(arguments.layers or FEATURE_LAYERS)
    with capture(detector.model, layers) as outputs:
        found = detector(image, score=arguments.score)
    photo = found.draw()
    for layer in layers:
        titles, tiles = [], []
        for title, heat in reduce_maps(layer, outputs[layer], arguments.reduction, arguments.topk):
            heat = on_picture(heat, _size(image), detector.input_size)
            titles.append(title)
            tiles.append(overlay(photo, heat_map(heat, _size(image))))
        picture = grid(tiles, COLUMNS, fitted_size(_size(image), CELL), titles)
        _save(picture, arguments, f"{layer}_{arguments.reduction}")


def reduce_maps(layer: str, maps: Sequence[Tensor], reduction: str, topk: int) -> list[tuple[str, np.ndarray]]:
    """Titles and maps (h, w) to draw of a layer's outputs (1, C, h, w).

    Raises InputError where the layer gave nothing that is a map.
    """
    if not maps or any(output.ndim != 4 for output in maps):
        shapes = ", ".join(str(tuple(output.shape)) for output in maps) or "nothing"
        raise InputError(f"layer {layer!r} gives {shapes}, expected maps (1, C, H, W): choose another layer")
    reduced = []
    for index, output in enumerate(maps):
        channels = output[0].float().cpu()
        name = f"{layer}, map {index}" if len(maps) > 1 else layer
        size = f"{len(channels)} x {channels.shape[1]} x {channels.shape[2]}"
        if reduction == "topk":
            best = top_channels(channels, topk)
            reduced += [(f"{name}, channel: {channel}", heat.numpy()) for channel, heat in best]
        else:
            heat = squeeze_mean(channels) if reduction == "squeeze_mean" else select_max(channels)
            reduced.append((f"{name}, {reduction} of {size}", heat.numpy()))
    return reduced


def draw_box_am(detector: Detector, image: np.ndarray, arguments: argparse.Namespace) -> None:
    """One picture a layer, and one of their mean where there are several."""
    from rtmdet.viz.box_am import box_am, merge_maps, normalize_in_boxes  # seconds to import

    layers = _unique(arguments.layers or BOX_AM_LAYERS)
    for layer in layers:
        find_layer(detector.model, layer)  # an unknown one is told before the work begins
    found = _find_boxes(detector, image, arguments.score)
    images, scales = detector.preprocess([image])
    target = choose_target(detector, found, scales[0], arguments)
    maps = {layer: box_am(detector.model, layer, images, target, arguments.method) for layer in layers}
    pictures = {layer: [raw] for layer, raw in maps.items()}
    if len(layers) > 1:
        pictures["mean"] = list(maps.values())
    for name, raws in pictures.items():
        if not any((raw > 0).any() for raw in raws):
            print(f"note: the map of {name} is empty, as none of the boxes depends on it: try another layer")
        heat = merge_maps(raws, _size(image), detector.input_size)
        if arguments.norm_in_box:
            heat = normalize_in_boxes(heat, found.boxes.numpy())
        picture = brighten(overlay(image, heat_map(heat, _size(image))))
        _save(found.draw(picture), arguments, f"{name}_{arguments.method}")


def choose_target(
    detector: Detector, found: Detections, scale: tuple[float, float], arguments: argparse.Namespace
) -> BoxTarget:
    """What the method explains, for boxes in the image's pixels and the image's scale (x, y)."""
    boxes = (found.boxes * found.boxes.new_tensor([*scale, *scale])).to(detector.device)
    labels = found.labels.clone().to(detector.device)  # inference tensors take no part in gradients, copies do
    if arguments.method in ("eigencam", "ablationcam"):
        return detection_target(boxes, labels, detector.input_size)
    if arguments.target == "loss":
        return box_loss_target(boxes, labels, len(detector.classes))
    return class_score_target(boxes, labels, detector.input_size)


def _find_boxes(detector: Detector, image: np.ndarray, score: float | str) -> Detections:
    """The detections that --score keeps; InputError with the best score where there are none."""
    found = detector(image, score=score)
    if not len(found):
        best = detector(image, score=0.0).scores
        text = f"{best[0]:.3f}" if len(best) else "none"
        least = min(detector.thresholds(score))
        raise InputError(
            f"Box AM needs a box to explain: no detection above score {least:g}, the best is {text}: lower --score"
        )
    return found


def _check(arguments: argparse.Namespace) -> None:
    if arguments.image is None and not arguments.list_layers:
        raise InputError("visualize needs an image file, found none: name one, or ask for --list-layers")
    check_score(arguments.score)
    if arguments.topk < 1:
        raise InputError(f"--topk {arguments.topk}: expected at least 1 channel")


def _save(picture: np.ndarray, arguments: argparse.Namespace, name: str) -> None:
    path: Path = arguments.out / f"{arguments.image.stem}_{name}.png"
    save_image(path, picture)
    print(path)


def _size(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
