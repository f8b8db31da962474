"""Looking inside a detector: feature maps, and Box AM, drawn over a photo with its detections.

Pictures are (H, W, 3) uint8 RGB, by the name of what they show. Dimension legend: N boxes.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch

from rtmdet.core.arguments import checked
from rtmdet.core.console import say
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import fitted_size
from rtmdet.core.paths import FilePath, user_path
from rtmdet.core.pictures import Picture, to_rgb
from rtmdet.data.images import dark_remarks, read_image
from rtmdet.detector import Detector, Score
from rtmdet.viz.box_targets import choose_target
from rtmdet.viz.feature_maps import REDUCTIONS, reduce_maps
from rtmdet.viz.grid import add_caption, grid
from rtmdet.viz.heatmap import brighten, heat_map, on_picture, overlay
from rtmdet.viz.hooks import capture, find_layer

FEATURE_LAYERS = ("neck",)
BOX_AM_LAYERS = tuple(f"neck.out_convs[{level}]" for level in range(3))  # together they feed all boxes
CELL = (640, 640)  # (H, W) pixels that a feature map's picture is fitted into
MOST_COLUMNS = 4
TOPK = 4  # channels
CAPTIONS = {
    "gradcam": "where the {target} of the boxes depends on the layer",
    "gradcam++": "where the {target} of the boxes depends on the layer, gradients weighted by the second order",
    "eigencam": "what varies most in the layer; explains no detection",
    "ablationcam": "the channels that all boxes together need most; not what a single box depends on",
}
TARGETS = {"score": "class score", "loss": "box loss"}


@checked
def draw_feature_maps(
    detector: Detector | FilePath,
    image: FilePath | Picture,
    *,
    layers: Sequence[str] = FEATURE_LAYERS,
    reduction: str = "squeeze_mean",
    topk: int = TOPK,
    score: Score = "auto",
    color: str = "rgb",
) -> dict[str, np.ndarray]:
    """What layers respond to: for each layer a picture with a tile for every one of its maps.

    `layers` are module paths such as backbone or neck.out_convs[0]. `reduction` is squeeze_mean (the mean of a map's
    channels), select_max (the strongest channel) or topk (a tile for each of the `topk` strongest). `detector` may be
    a weights file, or the folder of a run, whose last.pth is taken; `image`, `score` and `color` are those of a
    Detector's call. Raises InputError.
    """
    _check("reduction", reduction, REDUCTIONS)
    if topk < 1:
        raise InputError(f"topk {topk}: expected at least 1 channel")
    detector, pixels = _open(detector, image, color)
    layers = list(dict.fromkeys(layers))
    if not layers:
        raise InputError("layers: expected at least one, found none")
    with capture(detector.model, layers) as outputs:
        found = detector(pixels, score=score, tile=0)  # as the maps show it
    pictures = {}
    for layer in layers:
        maps = reduce_maps(layer, outputs[layer], reduction, topk)
        heats = [heat_map(on_picture(heat, _size(pixels), detector.input_size), _size(pixels)) for _, heat in maps]
        tiles = [found.draw(overlay(pixels, heat)) for heat in heats]
        columns = min(topk if reduction == "topk" else len(tiles), MOST_COLUMNS)
        pictures[layer] = grid(tiles, columns, fitted_size(_size(pixels), CELL), [title for title, _ in maps])
    return pictures


@checked
def draw_box_am(
    detector: Detector | FilePath,
    image: FilePath | Picture,
    *,
    layers: Sequence[str] | None = None,
    method: str = "gradcam",
    target: str = "score",
    norm_in_box: bool = False,
    score: Score = "auto",
    color: str = "rgb",
) -> dict[str, np.ndarray]:
    """Box AM: which places of layers the detected boxes depend on; prints which boxes the layers do not feed.

    Without `layers` one picture, "all_levels", of the three from which all boxes come (ablationcam: of the one that
    most come from); else one for each of them and, of several, their "mean". `method` is gradcam, gradcam++,
    ablationcam (slow: it runs the network once per channel) or eigencam, which shows what varies most, whatever is
    detected. `target` is what the first two explain: the class "score" of the boxes, or the box "loss" as in mmyolo,
    which is less stable. `norm_in_box` scales the heat within each box. `detector`, `image`, `score` and `color` as
    for `draw_feature_maps`. Raises InputError, also if nothing is detected.
    """
    _check("method", method, CAPTIONS)
    _check("target", target, TARGETS)
    detector, pixels = _open(detector, image, color)
    chosen = list(dict.fromkeys(layers or BOX_AM_LAYERS))
    for layer in chosen:
        find_layer(detector.model, layer)  # unknown layers fail before the work begins
    found = find_boxes(detector, pixels, score)
    from rtmdet.viz.box_am import box_am, merge_maps, normalize_in_boxes  # seconds to import

    stacked, (place,) = detector.preprocess([pixels])
    images = torch.from_numpy(stacked).to(detector.device)
    boxes = place.to_input(found.boxes).to(detector.device)
    labels = found.labels.clone().to(detector.device)  # inference tensors cannot take part in autograd, copies can
    maps = {}
    fed_by = _choose_boxes(detector, chosen, images, boxes, place.content, method, every=bool(layers))
    for layer, fed in fed_by.items():
        explained = choose_target(
            method, target, boxes[fed], labels[fed],
            content=place.content, input_size=detector.input_size, classes=len(detector.classes),
        )  # fmt: skip
        maps[layer] = box_am(detector.model, layer, images, explained, method)
    of = {layer: [raw] for layer, raw in maps.items()} if layers or len(maps) == 1 else {}
    if len(maps) > 1:
        of["mean" if layers else "all_levels"] = list(maps.values())
    pictures = {}
    for name, raws in of.items():
        if not any((raw > 0).any() for raw in raws):
            say(f"note: the map of {name} is empty: no box depends on this layer; try another one")
        heat = merge_maps(raws, _size(pixels), detector.input_size)
        if norm_in_box:
            heat = normalize_in_boxes(heat, found.boxes.numpy())
        picture = found.draw(brighten(overlay(pixels, heat_map(heat, _size(pixels)))))
        what = CAPTIONS[method].format(target=TARGETS[target])
        pictures[name] = add_caption(picture, f"{method} of {name if name in maps else ', '.join(maps)}: {what}")
    return pictures


def find_boxes(detector: Detector, pixels: np.ndarray, score: Score) -> Detections:
    """The detections to explain. Raises InputError with the best score if there are none."""
    found = detector(pixels, score=score, tile=0)  # heat lies on the whole picture
    if not len(found):
        best = detector(pixels, score=0.0, tile=0).scores
        text = f"{best[0]:.3f}" if len(best) else "none"
        least = min(detector.thresholds(score))
        raise InputError(
            f"Box AM needs a box to explain: no detection above score {least:g}, the best is {text}: lower the score "
            "threshold (--score)"
        )
    return found


def _choose_boxes(
    detector: Detector,
    layers: Sequence[str],
    images: torch.Tensor,
    boxes: torch.Tensor,
    content: tuple[int, int],
    method: str,
    *,
    every: bool,
) -> dict[str, np.ndarray]:
    """(N,) bool for each layer: the boxes to explain in it; without `every`, ablationcam is for one layer only."""
    from rtmdet.viz.box_am import fed_boxes

    if method == "eigencam":  # explains no box
        return {layer: np.ones(len(boxes), bool) for layer in layers}
    fed = fed_boxes(detector.model, layers, images, boxes, content)
    if method == "ablationcam" and not every:
        # A forward pass for each channel: three layers of the l size would take 768 of them.
        layer = max(fed, key=lambda name: int(fed[name].sum()))
        say(f"ablationcam is slow, so it covers only {layer}, where most boxes come from; others with --layer")
        fed = {layer: fed[layer]}
    if count := int((~np.any(list(fed.values()), axis=0)).sum()):
        what = "this layer does" if len(fed) == 1 else "these layers do"
        result = "are not explained" if method == "ablationcam" else "show no heat"
        say(f"note: {count} of {len(boxes)} boxes come from pyramid levels that {what} not feed; they {result}")
    return fed


def _open(detector: Detector | FilePath, image: FilePath | Picture, color: str) -> tuple[Detector, np.ndarray]:
    """The detector with all its layers, and the pixels; prints a warning about photos that are too dark for it."""
    opened = detector if isinstance(detector, Detector) else Detector(detector, fold=False)
    if not isinstance(image, str | os.PathLike):
        return opened, to_rgb(image, "image", color=color, value_range=opened.value_range)
    path = user_path(image)
    pixels = read_image(path, opened.value_range)
    say(*dark_remarks([path], opened.value_range))
    return opened, pixels


def _check(name: str, value: str, known: Sequence[str] | dict[str, str]) -> None:
    if value not in known:
        raise InputError(f"{name} {value!r}: expected one of {', '.join(known)}")


def _size(pixels: np.ndarray) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]
