"""Looking inside a detector: feature maps, and Box AM, drawn over a photo with its detections.

Pictures are (H, W, 3) uint8 RGB, by the name of what they show. Dimension legend: N boxes.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from rtmdet.core.arguments import check_choice, checked
from rtmdet.core.backend import MOST_CANDIDATES, detect
from rtmdet.core.boxes import pairwise_iou
from rtmdet.core.class_colors import Color
from rtmdet.core.console import say
from rtmdet.core.detections import Detections
from rtmdet.core.draw import draw_boxes
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import Letterbox, fitted_size
from rtmdet.core.paths import FilePath
from rtmdet.core.strides import STRIDES
from rtmdet.core.wording import size_text
from rtmdet.deploy.torch_backend import TorchBackend
from rtmdet.detector import Detector, Score
from rtmdet.images.depth import depth_remarks
from rtmdet.images.inputs import ImageInput, open_image
from rtmdet.models.evaluation_mode import EvaluationMode
from rtmdet.viz.box_targets import GRADIENT_METHODS, choose_target
from rtmdet.viz.feature_maps import REDUCTIONS, arrange, reduce_maps
from rtmdet.viz.grid import add_caption, fit_image, grid
from rtmdet.viz.heatmap import brighten, heat_map, on_picture, overlay
from rtmdet.viz.hooks import capture, find_layer

FEATURE_LAYERS = ("neck",)
BOX_AM_LAYERS = tuple(f"neck.out_convs[{level}]" for level in range(3))  # together they feed all boxes
CELL = (640, 640)  # (H, W) pixels that a feature map's picture is fitted into; Box AM of smaller photos, too
TOPK = 4  # channels
NOT_EXPLAINED: Color = (150, 150, 150)  # boxes that the layer does not feed
CAPTIONS = {
    "gradcam": "where the {target} of {boxes} depends on the layer",
    "gradcam++": "where the {target} of {boxes} depends on the layer, gradients weighted by the second order",
    "eigencam": "what varies most in the layer; explains no detection",
    "ablationcam": "the channels that change {boxes} together most when set far below their values; not what a "
    "single box depends on",
}
NOTHING_FED = "no box comes from a pyramid level that this layer feeds; try another one"
TARGETS = {"score": "class score", "loss": "box loss"}


@checked
def draw_feature_maps(
    detector: Detector | FilePath,
    image: ImageInput,
    *,
    layers: str | Sequence[str] = FEATURE_LAYERS,
    reduction: str = "squeeze_mean",
    topk: int = TOPK,
    score: Score = "auto",
    labels: bool = True,
    color: str = "rgb",
) -> dict[str, np.ndarray]:
    """What layers respond to: for each layer a picture with a tile for every one of its maps.

    `layers` are module paths such as backbone or neck.out_convs[0]. `reduction` is squeeze_mean (the mean of a map's
    channels), select_max (the strongest channel) or topk (a tile for each of the `topk` strongest). `detector` may be
    a weights file, or the folder of a run, whose last.pth is taken; `image`, `score` and `color` are those of a
    Detector's call; `labels=False` draws boxes without texts. Raises InputError.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    if topk < 1:
        raise InputError(f"topk {topk}: expected at least 1 channel")
    detector, pixels = _open(detector, image, color)
    layers = _layer_names(layers)
    with _evaluating(detector), capture(detector.model, layers) as outputs:
        found = detector(pixels, score=score, tile=0)  # as the maps show it
    size, input_size = _size(pixels), detector.input_size
    photo, found = _fitted(pixels, found, CELL)

    def draw(heat: np.ndarray | None) -> np.ndarray | None:
        if heat is None:
            return None
        colors = heat_map(on_picture(heat, size, input_size), _size(photo))
        return found.draw(overlay(photo, colors), labels=labels)

    pictures = {}
    for layer in layers:
        reduced = reduce_maps(
            layer, outputs[layer], reduction, topk=topk, content=fitted_size(size, input_size), input_size=input_size
        )
        tiles, columns = arrange(reduced)
        titles, heats = zip(*tiles, strict=True)
        maps = grid([draw(heat) for heat in heats], columns, _size(photo), titles)
        pictures[layer] = add_caption(maps, "brighter means more; each map has a range of its own")
    return pictures


@checked
@torch.inference_mode(False)
def draw_box_am(
    detector: Detector | FilePath,
    image: ImageInput,
    *,
    layers: str | Sequence[str] | None = None,
    method: str = "gradcam",
    target: str = "score",
    norm_in_box: bool = False,
    boxes: Detections | None = None,
    score: Score = "auto",
    labels: bool = True,
    color: str = "rgb",
) -> dict[str, np.ndarray]:
    """Box AM: which places of layers the detected boxes depend on; prints which boxes the layers do not feed.

    Without `layers` one picture, "all_levels", of the three from which all boxes come (ablationcam: of the one that
    most come from); else one for each of them and, of several, their "mean". `method` is gradcam, gradcam++,
    ablationcam (slow: it runs the network once per channel) or eigencam, which shows what varies most, whatever is
    detected. `target` is what the first two explain: the class "score" of the boxes, or the box "loss" as in mmyolo,
    which is less stable. `norm_in_box` scales the heat within each box. `boxes` are those to explain, a choice of
    what the detector found in this image with tile=0; by default all above `score`. `detector`, `image`, `score`,
    `labels` and `color` as for `draw_feature_maps`. Raises InputError, also if nothing is detected.
    """
    check_choice("method", method, CAPTIONS)
    check_choice("target", target, TARGETS)
    detector, pixels = _open(detector, image, color)
    chosen = _layer_names(BOX_AM_LAYERS if layers is None else layers)
    with _evaluating(detector):
        for layer in chosen:
            find_layer(detector.model, layer)  # unknown layers fail before the work begins
        found = find_boxes(detector, pixels, score) if boxes is None else boxes.to("cpu")
        maps, fed_by = _explain(detector, pixels, found, chosen, method, target, every=layers is not None)
    from rtmdet.viz.box_am import merge_maps, normalize_in_boxes  # seconds to import

    groups = {layer: [layer] for layer in maps} if layers is not None or len(maps) == 1 else {}
    if len(maps) > 1:
        groups["all_levels" if layers is None else "mean"] = list(maps)
    pictures = {}
    for name, members in groups.items():
        heat = merge_maps([maps[layer] for layer in members], _size(pixels), detector.input_size)
        fed = np.any([fed_by[layer] for layer in members], axis=0)
        if not any((maps[layer] > 0).any() for layer in members):
            say(f"note: the map of {name} is empty: {_why_empty(method, target) if fed.any() else NOTHING_FED}")
        if norm_in_box:
            heat = normalize_in_boxes(heat, found.boxes.numpy()[fed])
        caption = _caption(members, method, target, fed, norm_in_box=norm_in_box)
        if boxes is None and not isinstance(score, str | Sequence):
            caption += f"; scores above {score:g}"
        picture = _draw_explained(pixels, heat, found, fed, labels=labels)
        pictures[name] = add_caption(picture, f"{caption}; input {size_text(detector.input_size)}")
    return pictures


def find_boxes(detector: Detector, pixels: np.ndarray, score: Score) -> Detections:
    """The detections to explain. Raises InputError with the best score if there are none."""
    found = detector(pixels, score=score, tile=0)  # heat lies on the whole picture
    if not len(found):
        least = detector.thresholds(score)
        wanted = [detection for detection in detector(pixels, score=0.0, tile=0) if least[detection.label] < 1]
        text, limit = "none", min(least)
        if wanted:
            text, limit = f"{math.floor(wanted[0].score * 1e4) / 1e4:g}", least[wanted[0].label]
        raise InputError(
            f"Box AM needs a box to explain: no detection above score {limit:g}, the best is {text}: lower the score "
            "threshold (--score)"
        )
    return found


def predicted_boxes(detector: Detector, pixels: np.ndarray, found: Detections) -> Detections:
    """The detections with the boxes that the network predicted, not clipped to the photo.

    Voting has moved the others, but their scores and labels stayed. Raises InputError if one is not of this detector
    and photo.
    """
    least = 0.99 * float(found.scores.min()) if len(found) else 1.0
    selection = detector.selection(
        [least] * len(detector.classes), len(STRIDES) * MOST_CANDIDATES, 1.0
    )  # NMS drops none
    (own,) = detect(detector.backend, *detector.preprocess([pixels]), selection)
    own = own.to("cpu")
    closeness = pairwise_iou(found.boxes, own.boxes) - 1e3 * (found.scores[:, None] - own.scores).abs()
    closeness = torch.where(found.labels[:, None] == own.labels, closeness, -1)
    if not closeness.numel() or closeness.amax(1).min() < -0.1:
        raise InputError(
            "boxes: expected some that this detector finds in the whole image, found none or others: give a choice "
            "of detector(image, tile=0)"
        )
    return own[closeness.argmax(1)]


def _explain(
    detector: Detector,
    pixels: np.ndarray,
    found: Detections,
    layers: Sequence[str],
    method: str,
    target: str,
    *,
    every: bool,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The raw map of each layer, and (N,) bool: the detections that it explains."""
    from rtmdet.viz.box_am import box_am  # seconds to import

    own = predicted_boxes(detector, pixels, found)
    stacked, (letterbox,) = detector.preprocess([pixels])
    images = torch.from_numpy(stacked).to(detector.device)
    boxes = letterbox.to_input(own.boxes).to(detector.device)
    labels = own.labels.clone().to(detector.device)  # inference tensors cannot take part in autograd, copies can
    maps = {}
    fed_by = _choose_boxes(detector, layers, images, boxes, method, every=every)
    for layer, fed in fed_by.items():
        explained = choose_target(
            method, target, boxes[fed], labels[fed],
            input_size=detector.input_size, classes=len(detector.classes),
        )  # fmt: skip
        maps[layer] = box_am(detector.model, layer, images, explained, method, content=letterbox.content)
    return maps, fed_by


def _choose_boxes(
    detector: Detector,
    layers: Sequence[str],
    images: torch.Tensor,
    boxes: torch.Tensor,
    method: str,
    *,
    every: bool,
) -> dict[str, np.ndarray]:
    """(N,) bool for each layer: the boxes to explain in it; without `every`, ablationcam is for one layer only."""
    from rtmdet.viz.box_am import fed_boxes

    if method == "eigencam":  # explains no box
        return {layer: np.ones(len(boxes), bool) for layer in layers}
    fed = fed_boxes(detector.model, layers, images, boxes)
    if method == "ablationcam" and not every:
        # A forward pass for each channel: three layers of the l size would take 768 of them.
        layer = max(fed, key=lambda name: int(fed[name].sum()))
        say(f"ablationcam is slow, so it covers only {layer}, where most boxes come from; others with --layer")
        fed = {layer: fed[layer]}
    if count := int((~np.any(list(fed.values()), axis=0)).sum()):
        what = "this layer does" if len(fed) == 1 else "these layers do"
        say(f"note: {count} of {len(boxes)} boxes come from pyramid levels that {what} not feed; they are gray")
    return fed


def _why_empty(method: str, target: str) -> str:
    """Why the boxes that a layer feeds have no heat, and what to do."""
    if method not in GRADIENT_METHODS:
        return "the boxes do not depend on this layer; try another one"
    other = "loss" if target == "score" else "score"
    return f"the {TARGETS[target]} does not depend on this layer; try another one, or --target={other}"


def _caption(layers: Sequence[str], method: str, target: str, fed: np.ndarray, *, norm_in_box: bool) -> str:
    """What Box AM of these layers shows, of the detections for which `fed` (N,) is true."""
    boxes = "the boxes" if fed.all() else f"{fed.sum()} of {len(fed)} boxes (not the gray ones)"
    what = CAPTIONS[method].format(target=TARGETS[target], boxes=boxes)
    scaled = "; heat scaled within each box" if norm_in_box else ""
    return f"{method} of {', '.join(layers)}: {what}; brighter means more{scaled}"


def _draw_explained(
    pixels: np.ndarray, heat: np.ndarray, found: Detections, fed: np.ndarray, *, labels: bool
) -> np.ndarray:
    """The photo with heat and detections, gray where `fed` (N,) is false; small photos are enlarged."""
    height, width = _size(pixels)
    photo, found = _fitted(pixels, found, (max(height, CELL[0]), max(width, CELL[1])))
    picture = brighten(overlay(photo, heat_map(heat, _size(photo))))
    others = found[~fed].numpy().boxes
    picture = draw_boxes(picture, others, [""] * len(others), [NOT_EXPLAINED] * len(others))
    return found[fed].draw(picture, labels=labels)


def _fitted(pixels: np.ndarray, found: Detections, cell: tuple[int, int]) -> tuple[np.ndarray, Detections]:
    """A photo and its detections fitted into `cell` (H, W), before boxes are drawn: their texts have a least size."""
    letterbox = Letterbox.fit(_size(pixels), cell)
    return fit_image(pixels, cell), replace(
        found, boxes=letterbox.to_input(found.boxes), image_size=letterbox.content
    )


def _evaluating(detector: Detector) -> EvaluationMode:
    """The network in evaluation mode, with the one lock of it. Raises InputError for exported files."""
    assert detector.model is not None
    assert isinstance(detector.backend, TorchBackend)
    return detector.backend.evaluating


def _layer_names(layers: str | Sequence[str]) -> list[str]:
    """One or several names, each once. Raises InputError if there are none."""
    if not layers:
        raise InputError("layers: expected at least one, found none")
    return [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))


def _open(detector: Detector | FilePath, image: ImageInput, color: str) -> tuple[Detector, np.ndarray]:
    """The detector with all its layers, and the pixels; prints a line about a 16-bit photo."""
    opened = detector if isinstance(detector, Detector) else Detector(detector, fold=False)
    given = open_image(image, "image", color, opened.value_range)
    if given.path is not None:
        say(*depth_remarks([given.path], opened.value_range))
    return opened, given.pixels


def _size(pixels: np.ndarray) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]
