"""`rtmdet visualize`: feature maps or Box AM of a detector's layers, drawn over a photo with its detections."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtmdet.cli.model_options import check_score, describe_score, load_detector
from rtmdet.core.detections import Detections
from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import fitted_size
from rtmdet.core.picture_source import free_path
from rtmdet.data.images import dark_remarks, read_image
from rtmdet.detector import Detector
from rtmdet.viz.box_targets import (
    GRADIENT_METHODS,
    BoxTarget,
    box_loss_target,
    class_score_target,
    detection_target,
    source_levels,
)
from rtmdet.viz.grid import add_caption, grid
from rtmdet.viz.heatmap import brighten, heat_map, on_picture, overlay
from rtmdet.viz.hooks import capture, find_layer, layer_names

FEATURE_LAYERS = ["neck"]
BOX_AM_LAYERS = [f"neck.out_convs[{level}]" for level in range(3)]  # together they feed all boxes
CELL = (640, 640)  # (H, W) pixels that a feature map's picture is fitted into
MOST_COLUMNS = 4
TOPK = 4  # channels
CAPTIONS = {
    "gradcam": "where the {target} of the boxes depends on the layer",
    "gradcam++": "where the {target} of the boxes depends on the layer, gradients weighted by the second order",
    "eigencam": "what varies most in the layer; explains no detection",
    "ablationcam": "the channels that all boxes together need most; not what a single box depends on",
}


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths, or print the names of the layers."""
    if arguments.image is None and not arguments.list_layers:
        raise InputError("visualize: expected an image file, found none: give one, or use --list-layers")
    check_score(arguments.score)
    asked = read_options(arguments)
    detector = load_detector(arguments, fold=False)
    if arguments.list_layers:
        print("\n".join(layer_names(detector.model)))
        return 0
    image = read_image(arguments.image, detector.value_range)
    for remark in dark_remarks([arguments.image], detector.value_range):
        print(remark)
    print(describe_score(arguments.score, detector, detector.classes))
    if arguments.method is None:
        draw_feature_maps(detector, image, asked)
    else:
        draw_box_am(detector, image, asked, arguments.method)
    return 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What to draw of a photo; names and values are those of the command's options."""

    image: Path
    out: Path
    layers: Sequence[str] | None
    score: float | str
    reduction: str
    topk: int  # channels
    target: str
    norm_in_box: bool


def read_options(given: argparse.Namespace) -> Asked:
    """The options with their defaults. Raises InputError for those that would do nothing."""
    of_maps = "feature maps: leave out this option or --method"
    wrong = {
        "--reduction": (given.reduction and given.method, of_maps),
        "--topk": (
            given.topk is not None and given.reduction != "topk",
            of_maps if given.method else "--reduction topk: give that, too",
        ),
        "--target": (
            given.target and given.method not in GRADIENT_METHODS,
            f"--method {' or '.join(GRADIENT_METHODS)}: give one of these, too",
        ),
        "--norm-in-box": (given.norm_in_box and not given.method, "Box AM: give --method, too"),
    }
    for option, (is_given, where) in wrong.items():
        if is_given:
            raise InputError(f"{option} is for {where}")
    topk = TOPK if given.topk is None else given.topk
    if topk < 1:
        raise InputError(f"--topk {topk}: expected at least 1 channel")
    return Asked(
        image=given.image,
        out=given.out,
        layers=given.layers,
        score=given.score,
        reduction=given.reduction or "squeeze_mean",
        topk=topk,
        target=given.target or "score",
        norm_in_box=given.norm_in_box,
    )


def draw_feature_maps(detector: Detector, image: np.ndarray, asked: Asked) -> None:
    """One picture per layer: a tile for each of its maps, or for each of their strongest channels."""
    layers = _unique(asked.layers or FEATURE_LAYERS)
    with capture(detector.model, layers) as outputs:
        found = detector(image, score=asked.score, tile=0)  # as the maps show it
    for layer in layers:
        titles, tiles = [], []
        for title, heat in reduce_maps(layer, outputs[layer], asked.reduction, asked.topk):
            heat = on_picture(heat, _size(image), detector.input_size)
            titles.append(title)
            tinted = overlay(image, heat_map(heat, _size(image)))
            tiles.append(found.draw(tinted))
        columns = min(asked.topk if asked.reduction == "topk" else len(tiles), MOST_COLUMNS)
        picture = grid(tiles, columns, fitted_size(_size(image), CELL), titles)
        _save(picture, asked, f"{layer}_{asked.reduction}")


def reduce_maps(layer: str, maps: Sequence[Tensor], reduction: str, topk: int) -> list[tuple[str, np.ndarray]]:
    """Titles and maps (h, w) to draw of a layer's outputs (1, C, h, w), reduced as in OpenMMLab's feature map demo.

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


def draw_box_am(detector: Detector, image: np.ndarray, asked: Asked, method: str) -> None:
    """One picture of all levels (ablationcam: one) by default; for named layers one each, and one of their mean."""
    from rtmdet.viz.box_am import box_am, merge_maps, normalize_in_boxes  # seconds to import

    layers = _unique(asked.layers or BOX_AM_LAYERS)
    for layer in layers:
        find_layer(detector.model, layer)  # unknown layers fail before the work begins
    found = _find_boxes(detector, image, asked.score)
    stacked, (place,) = detector.preprocess([image])
    images = torch.from_numpy(stacked).to(detector.device)
    boxes = place.to_input(found.boxes).to(detector.device)
    labels = found.labels.clone().to(detector.device)  # inference tensors cannot take part in autograd, copies can
    fed = {layer: np.ones(len(found), bool) for layer in layers}  # the boxes that depend on each layer
    if method != "eigencam":
        fed = fed_boxes(detector, layers, images, boxes, place.content)
    if method == "ablationcam" and not asked.layers:
        fed = most_fed(fed)
    if count := int((~np.any(list(fed.values()), axis=0)).sum()):
        what = "this layer does" if len(fed) == 1 else "these layers do"
        print(f"note: {count} of {len(found)} boxes come from pyramid levels that {what} not feed; they show no heat")
    maps = {}
    for layer, of_layer in fed.items():
        target = choose_target(detector, boxes[of_layer], labels[of_layer], place.content, method, asked.target)
        maps[layer] = box_am(detector.model, layer, images, target, method)
    pictures = {layer: [raw] for layer, raw in maps.items()} if asked.layers or len(maps) == 1 else {}
    if len(maps) > 1:
        pictures["mean" if asked.layers else "all_levels"] = list(maps.values())
    for name, raws in pictures.items():
        if not any((raw > 0).any() for raw in raws):
            print(f"note: the map of {name} is empty: no box depends on this layer; try another one")
        heat = merge_maps(raws, _size(image), detector.input_size)
        if asked.norm_in_box:
            heat = normalize_in_boxes(heat, found.boxes.numpy())
        picture = brighten(overlay(image, heat_map(heat, _size(image))))
        picture = found.draw(picture)
        of = ", ".join(layers) if name in ("mean", "all_levels") else name
        what = CAPTIONS[method].format(target="box loss" if asked.target == "loss" else "class score")
        _save(add_caption(picture, f"{method} of {of}: {what}"), asked, f"{name}_{method}")


def fed_boxes(
    detector: Detector, layers: Sequence[str], images: Tensor, boxes: Tensor, content: tuple[int, int]
) -> dict[str, np.ndarray]:
    """(N,) bool per layer: which boxes (N, 4), in input pixels, come from a pyramid level that the layer feeds."""
    from rtmdet.viz.box_am import fed_levels

    with torch.no_grad():
        levels = source_levels(detector.model(images), boxes, content).cpu().numpy()
    return {layer: np.isin(levels, list(fed_levels(detector.model, layer, images))) for layer in layers}


def most_fed(fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layer that most boxes come from, and its (N,) bool; prints which it is."""
    # A forward pass for each channel: three layers of the l size would take 768 of them.
    layer = max(fed, key=lambda name: int(fed[name].sum()))
    print(f"ablationcam is slow, so it covers only {layer}, where most boxes come from; others with --layer")
    return {layer: fed[layer]}


def choose_target(
    detector: Detector, boxes: Tensor, labels: Tensor, content: tuple[int, int], method: str, target: str
) -> BoxTarget:
    """What the method explains, for boxes in input pixels; `content` (H, W) is the input without padding."""
    if method not in GRADIENT_METHODS:
        return detection_target(boxes, labels, detector.input_size)
    if target == "loss":
        return box_loss_target(boxes, labels, len(detector.classes))
    return class_score_target(boxes, labels, content)


def _find_boxes(detector: Detector, image: np.ndarray, score: float | str) -> Detections:
    """The detections that --score keeps. Raises InputError with the best score if there are none."""
    found = detector(image, score=score, tile=0)  # heat lies on the whole picture
    if not len(found):
        best = detector(image, score=0.0, tile=0).scores
        text = f"{best[0]:.3f}" if len(best) else "none"
        least = min(detector.thresholds(score))
        raise InputError(
            f"Box AM needs a box to explain: no detection above score {least:g}, the best is {text}: lower --score"
        )
    return found


def _save(picture: np.ndarray, asked: Asked, name: str) -> None:
    path = free_path(asked.out / f"{asked.image.stem}_{name}.png", asked.image, set())
    save_image(path, picture, source=asked.image)
    print(path)


def _size(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
