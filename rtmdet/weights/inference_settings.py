"""The settings for tests in OpenMMLab's configurations: what is applied here, and the names of what is not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rtmdet.core.facts import LARGEST_SIDE
from rtmdet.core.letterbox import PAD_VALUE
from rtmdet.core.nms import ORIGINAL, NmsSettings
from rtmdet.core.wording import one_line, shown
from rtmdet.weights.openmmlab import Settings, setting, type_name

_USUAL = {  # of `model.test_cfg` in the published configurations
    "score_thr": 0.001,
    "max_per_img": 300,
    "nms_pre": 30000,
    "min_bbox_size": 0,
    "multi_label": True,  # mmyolo's
    "nms.type": "nms",
    "nms.class_agnostic": False,
}
_OPTIONS = {"score_thr": " (infer: --score)", "max_per_img": " (infer: --max-boxes)"}
_KEEPS_RATIO = {"Resize": False, "FixScaleResize": False}  # where it is not written
_HARMLESS = ("Load", "Pack", "Compose")  # beginnings of the types of steps that leave the pixels


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """What a configuration says about tests."""

    input_size: tuple[int, int] | None  # (H, W); None: not stated
    nms: NmsSettings
    unapplied: tuple[str, ...]  # settings with their values, and with the option that does the same if there is one


def read_inference_settings(settings: Settings) -> InferenceSettings:
    """The input size and the NMS of tests, by default the original's, and what else is not as usual."""
    size, others = _resizing(settings)
    limits = dict(_flat(setting(settings, "model.test_cfg")))
    overlap, nms = limits.get("nms.iou_threshold"), ORIGINAL
    limits["nms.type"] = kind = type_name(limits.get("nms.type", "nms"))
    if kind == "nms" and isinstance(overlap, int | float) and 0 <= overlap <= 1 and not isinstance(overlap, bool):
        nms = NmsSettings(float(overlap))
        del limits["nms.iou_threshold"]
    for name, value in limits.items():
        if isinstance(value, int | float | str) and value != _USUAL.get(name):
            others.append(f"{name}={shown(value)}{_OPTIONS.get(name, '')}")
    return InferenceSettings(size, nms, tuple(map(one_line, others)))


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The values in dicts of any depth, by dotted name."""
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _resizing(settings: Settings) -> tuple[tuple[int, int] | None, list[str]]:
    """(H, W) that images are fitted into, None if it is not stated, and what happens to them besides.

    Of the pipeline in `test_dataloader`, else of `test_pipeline`. What is padded beyond the size changes no box.
    """
    loader = setting(settings, "test_dataloader.dataset")
    pipeline = setting(settings, "test_dataloader.dataset.pipeline") or setting(loader or {}, "dataset.pipeline")
    steps = [(str(type_name(step["type"])), step) for step in _dicts(pipeline or settings.get("test_pipeline"))]
    size, padded, others = None, None, list[str]()
    for kind, step in steps:
        if kind.endswith("Resize"):
            found = _pair(step.get("scale", [step.get("width"), step.get("height")]))
            size = _input_size(found) or size
            others += _unapplied(kind, step, found, size)
        elif kind == "Pad":
            padded = _input_size(_pair(step.get("size")))
        elif not kind.startswith(_HARMLESS):
            others.append(kind)
        if kind in ("Pad", "FixShapeResize", "LetterResize"):
            value = step.get("pad_val", 0)
            value = value.get("img", 0) if isinstance(value, Mapping) else value
            values = value if isinstance(value, list | tuple) else [value]
            if any(isinstance(value, int | float) and value != PAD_VALUE for value in values):
                others.append(f"{kind}.pad_val={shown(value)}")
    return size or padded, others


def _unapplied(kind: str, step: Settings, scale: tuple[int, int] | None, size: tuple[int, int] | None) -> list[str]:
    """What a step that resizes to `scale` (W, H) does otherwise than the letterbox here, of `size` (H, W)."""
    others = []
    if step.get("keep_ratio", _KEEPS_RATIO.get(kind, True)) is False:
        others.append(f"{kind}.keep_ratio=False")
    if scale is None and (factor := step.get("scale_factor")) is not None:
        others.append(f"{kind}.scale_factor={shown(factor)}")
    turns = scale is not None and scale[0] != scale[1] and kind != "FixShapeResize"  # its long side is the image's
    if scale is not None and size is None:
        others.append(f"{kind}.scale={scale}")
    elif scale is not None and size is not None and (scale != size[::-1] or turns):
        upright = ", also for upright images" if turns else ""
        others.append(f"{kind}.scale={scale} (here {size[1]} x {size[0]}{upright}: --input)")
    if kind == "LetterResize":
        others.append("LetterResize (centers the image)")
    return others


def _dicts(value: object) -> Iterator[Settings]:
    """All dicts with a type in a value, at any depth."""
    if isinstance(value, Mapping) and isinstance(value.get("type"), str):
        yield value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for item in items:
        yield from _dicts(item)


def _pair(value: object) -> tuple[int, int] | None:
    """(W, H) as a configuration writes it: both, or one number for both."""
    match value:
        case [int() as width, int() as height] | [[int() as width, int() as height]]:
            return width, height
        case int() as side:
            return side, side
    return None


def _input_size(pair: tuple[int, int] | None) -> tuple[int, int] | None:
    """(H, W) of (W, H): what the network takes, the next multiples of 32; None if they are out of range."""
    if pair is None or not all(0 < side <= LARGEST_SIDE for side in pair):
        return None
    width, height = (-(-side // 32) * 32 for side in pair)
    return height, width
