"""What OpenMMLab's weights files say beside their tensors: class names, settings for tests, and other networks.

mmengine stores the whole configuration as Python code. Its syntax tree is read, nothing is executed.
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rtmdet.core.errors import InputError
from rtmdet.core.facts import check_names
from rtmdet.core.nms import ORIGINAL, NmsSettings
from rtmdet.core.strides import STRIDES
from rtmdet.core.wording import shown
from rtmdet.models.zoo import BGR_MEAN, BGR_STD, SIZES

Settings = Mapping[str, Any]  # of a configuration, by name

OTHER_NETWORKS = {  # tensor name prefixes that RTMDet's detectors do not have
    "bbox_head.rtm_kernel": "an RTMDet-Ins, which finds masks",
    "bbox_head.mask_head": "an RTMDet-Ins, which finds masks",
    "bbox_head.rtm_ang": "an RTMDet-R, which finds rotated boxes",
    "backbone.stage5": "an RTMDet of four levels (P6)",
    "backbone.patch_embed": "an RTMDet with a Swin backbone",
    "backbone.downsample_layers": "an RTMDet with a ConvNeXt backbone",
}
ROOTS = ("backbone.", "neck.", "bbox_head.", "head.", "data_preprocessor.")  # prefixes in a state_dict
WRAPPERS = ("module", "_orig_mod")  # name parts added by parallel training and torch.compile

# Settings of `model` that no tensor shows, and the values of the published detectors, types without their modules.
_INVISIBLE: dict[str, tuple[object, ...]] = {
    "data_preprocessor.mean": (list(BGR_MEAN),),
    "data_preprocessor.std": (list(BGR_STD),),
    "data_preprocessor.bgr_to_rgb": (False,),
    "data_preprocessor.rgb_to_bgr": (False,),
    "backbone.spp_kernel_sizes": ([5, 9, 13],),
    "neck.upsample_cfg.mode": ("nearest",),
    "bbox_head.anchor_generator.offset": (0,),
    "bbox_head.anchor_generator.strides": ([*STRIDES],),
    **{f"{part}.act_cfg.type": ("SiLU", "Swish") for part in ("backbone", "neck", "bbox_head")},
    **{f"{part}.norm_cfg.eps": (1e-5,) for part in ("backbone", "neck", "bbox_head")},
}
_EXPONENTIAL = "bbox_head.exp_on_reg"  # its value differs by size; False where it is not written
_UNWRITTEN_EPS = 1e-3  # of a part without norm_cfg, in mmdet 3.3.0


def read_settings(meta: object) -> Settings:
    """The settings in `meta.cfg` by name; what is not made of dicts, lists, numbers and texts is None.

    Empty if there is no configuration, or it cannot be read.
    """
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    if isinstance(text, Mapping):
        return text
    settings: dict[str, Any] = {}
    try:
        for line in ast.parse(text).body if isinstance(text, str) else ():
            if isinstance(line, ast.Assign):
                value = _plain_value(line.value, settings)
                settings |= {name.id: value for name in line.targets if isinstance(name, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return settings


def _plain_value(node: ast.expr, settings: Settings) -> Any:
    """The value of an expression; `settings` are those above it."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return settings.get(node.id)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List() | ast.Tuple():
            return [_plain_value(item, settings) for item in node.elts]
        case ast.Call(func=ast.Name(id="dict"), args=[]):
            return {word.arg: _plain_value(word.value, settings) for word in node.keywords}
        case ast.Dict():
            keys = [None if key is None else _plain_value(key, settings) for key in node.keys]
            values = [_plain_value(value, settings) for value in node.values]
            return {key: value for key, value in zip(keys, values, strict=True) if isinstance(key, str)}
    return None


def _setting(settings: Settings, name: str) -> Any:
    """The value at a dotted name; None if there is none."""
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def class_names(meta: object) -> tuple[str, ...] | None:
    """The names in `meta.dataset_meta.classes` or, before mmdet 3, in `meta.CLASSES`."""
    if not isinstance(meta, Mapping):
        return None
    data = meta.get("dataset_meta")
    owners = [data, meta] if isinstance(data, Mapping) else [meta]
    names = next((owner[key] for owner in owners for key in ("classes", "CLASSES") if owner.get(key)), None)
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, list | tuple):
        return None
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names)


def check_class_names(path: object, names: Collection[str]) -> None:
    """Raise InputError for class names that no label file could hold."""
    try:
        check_names(names)
    except InputError as error:
        raise InputError(f"{path}: {error} in the file, in meta['dataset_meta']['classes']") from error


def input_size(settings: Settings) -> tuple[int, int] | None:
    """(H, W) of the test input; None if the configuration has no usable one.

    It is that of the Pad in the pipeline of `test_dataloader`, else in `test_pipeline`, else that of the Resize.
    """
    loader = _setting(settings, "test_dataloader.dataset")
    pipeline = _setting(settings, "test_dataloader.dataset.pipeline") or _setting(loader or {}, "dataset.pipeline")
    steps = [*_dicts(pipeline or settings.get("test_pipeline"))]
    for kind, name in (("Pad", "size"), ("Resize", "scale")):
        if found := [_sides(step[name]) for step in steps if _kind(step.get("type")) == kind and step.get(name)]:
            return found[-1]
    fixed = [(step.get("width"), step.get("height")) for step in steps if _kind(step.get("type")) == "FixShapeResize"]
    return _sides(fixed[-1]) if fixed else None


def _dicts(value: object) -> Iterator[Settings]:
    """All dicts in a value, at any depth."""
    if isinstance(value, Mapping):
        yield value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for item in items:
        yield from _dicts(item)


def _sides(pair: object) -> tuple[int, int] | None:
    """(H, W) of a pair (W, H) that the network takes."""
    match pair:
        case [int() as width, int() as height] if all(32 <= s <= 8192 and s % 32 == 0 for s in (width, height)):
            return height, width
    return None


def configured_nms(settings: Settings) -> NmsSettings:
    """The NMS in tests; the original's if the configuration does not say it."""
    found = _setting(settings, "model.test_cfg.nms.iou_threshold")
    usable = isinstance(found, int | float) and 0 <= found <= 1 and not isinstance(found, bool)
    return NmsSettings(float(found)) if usable else ORIGINAL


def check_settings(path: object, settings: Settings, size: str | None) -> None:
    """Raise InputError for the configuration of a network that has the tensors of this `size`, but is another one."""
    expected = _INVISIBLE | ({_EXPONENTIAL: (SIZES[size].exponential,)} if size else {})
    for name, values in expected.items():
        found = _of_model(settings, name)
        if found is not None and found not in values:
            raise InputError(
                f"{path}: its configuration says model.{name} = {shown(found)}: expected {values[0]}, as in "
                f"RTMDet{f'-{size}' if size else ''}; another network, whose boxes would be wrong here"
            )


def _of_model(settings: Settings, name: str) -> object:
    """A setting of `model`, that of mmdet where its part does not write it; None if it is not known."""
    part, found = name.partition(".")[0], _setting(settings, f"model.{name}")
    if found is None and isinstance(_setting(settings, f"model.{part}"), Mapping):
        if name == _EXPONENTIAL:
            return False
        if name.endswith(".norm_cfg.eps") and _setting(settings, f"model.{part}.norm_cfg") is None:
            return _UNWRITTEN_EPS
    if name.endswith(".type"):
        return _kind(found)
    return [*found] if isinstance(found, tuple) else found


def _kind(name: object) -> object:
    """The name of a type without its module, as in torch.nn.modules.activation.SiLU."""
    return name.rpartition(".")[2] if isinstance(name, str) else name


def plain_name(name: str) -> str:
    """A tensor's name without the parts added by parallel training and torch.compile."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def check_network(path: object, names: Collection[str]) -> None:
    """Raise InputError for tensors of a different network, or of a detector inside a larger model."""
    for start, network in OTHER_NETWORKS.items():
        if any(name.startswith(start) for name in names):
            raise InputError(f"{path}: the file holds {network}: expected an RTMDet that finds upright boxes")
    if any(name.startswith(ROOTS) for name in names):
        return
    parts = sorted({name.partition(".")[0] for name in names})
    inner = [name.partition(".")[2] for name in names]
    if any(name.startswith(ROOTS) for name in inner):
        raise InputError(
            f"{path}: the names of its tensors begin with {' and '.join(f'{part}.' for part in parts[:4])}, expected "
            "backbone., neck. and bbox_head.: save the state_dict of the detector alone"
        )
