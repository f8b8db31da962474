"""What OpenMMLab's weights files say beside their tensors: class names, and whether theirs is another network.

mmengine stores the whole configuration as Python code. Its syntax tree is read, nothing is executed.
"""

import ast
from collections.abc import Collection, Mapping
from typing import Any

from rtmdet.core.errors import InputError
from rtmdet.core.facts import check_names
from rtmdet.core.strides import STRIDES
from rtmdet.core.wording import shown
from rtmdet.models.backbone import scaled_channels
from rtmdet.models.folding import MERGED
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

_PARTS = ("backbone", "neck", "bbox_head")
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
    **{f"{part}.act_cfg.type": ("SiLU", "Swish") for part in _PARTS},
    **{f"{part}.norm_cfg.eps": (1e-5,) for part in _PARTS},
}
_EXPONENTIAL = "bbox_head.exp_on_reg"  # its value differs by size
_UNWRITTEN = {  # values of settings that a part does not write, in mmdet 3.3.0
    "backbone.deepen_factor": 1.0,
    "backbone.widen_factor": 1.0,
    _EXPONENTIAL: False,
    "bbox_head.with_objectness": True,
    "bbox_head.stacked_convs": 4,
    "neck.num_csp_blocks": 3,
    **{f"{part}.use_depthwise": False for part in _PARTS},
}
_UNWRITTEN_EPS = 1e-3  # of a part without norm_cfg, likewise


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


def setting(settings: Settings, name: str) -> Any:
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


def check_settings(path: object, settings: Settings, size: str | None) -> None:
    """Raise InputError for the configuration of a network that has the tensors of this `size`, but is another one."""
    expected = _INVISIBLE | ({_EXPONENTIAL: (SIZES[size].exponential,)} if size else {})
    if swaps_channels(settings):
        expected = {name: values for name, values in expected.items() if not name.startswith("data_preprocessor.")}
    if other := _first_other(settings, expected, size):
        raise InputError(f"{path}: {other}; another network, whose boxes would be wrong here")


def swaps_channels(settings: Settings) -> bool:
    """Whether the network's input is RGB with the published means: ours in another order of the channels."""
    pixels = setting(settings, "model.data_preprocessor")
    if not isinstance(pixels, Mapping) or True not in (pixels.get("bgr_to_rgb"), pixels.get("rgb_to_bgr")):
        return False
    found = [list(value) if isinstance(value := pixels.get(name), list | tuple) else None for name in ("mean", "std")]
    return found == [list(BGR_MEAN[::-1]), list(BGR_STD[::-1])]


def other_network(settings: Settings, size: str | None) -> str:
    """The setting that makes tensors differ from those of a published size; empty if there is none.

    `size` is that of the backbone; None: that of its width.
    """
    width = _of_model(settings, "backbone.widen_factor")
    size = size or next((name for name, known in SIZES.items() if known.widen == width), None)
    expected: dict[str, tuple[object, ...]] = {
        "backbone.widen_factor": tuple(known.widen for known in SIZES.values())
    }
    if size is not None:
        channels, known = list(scaled_channels(SIZES[size].widen)[2:]), SIZES[size]
        expected = {
            "backbone.type": ("CSPNeXt",),
            "backbone.arch": ("P5",),
            "backbone.deepen_factor": (known.deepen,),
            "backbone.widen_factor": (known.widen,),
            "backbone.expand_ratio": (0.5,),
            "backbone.channel_attention": (True,),
            "neck.type": ("CSPNeXtPAFPN",),
            "neck.in_channels": (channels,),
            "neck.out_channels": (channels[0],),
            "neck.num_csp_blocks": (known.neck_blocks,),
            "neck.expand_ratio": (0.5,),
            "bbox_head.type": ("RTMDetSepBNHead",),
            "bbox_head.in_channels": (channels[0],),
            "bbox_head.feat_channels": (channels[0],),
            "bbox_head.stacked_convs": (2,),
            "bbox_head.pred_kernel_size": (1,),
            "bbox_head.share_conv": (known.shared_head,),
            "bbox_head.with_objectness": (False,),
            **{f"{part}.use_depthwise": (known.depthwise,) for part in _PARTS},
            **{f"{part}.norm_cfg.type": ("BN", "BN2d", "BatchNorm2d", "SyncBN", "MMSyncBN") for part in _PARTS},
        }
    other = _first_other(settings, expected, size)
    return other and f"{other}; another network, which cannot be used here"


def _first_other(settings: Settings, expected: Mapping[str, tuple[object, ...]], size: str | None) -> str:
    """The first setting of `model` with an unexpected value, and that expected; empty if all are known or unknown."""
    for name, values in expected.items():
        found = _of_model(settings, name)
        if found is not None and found not in values:
            wanted = values if name.endswith("widen_factor") else values[:1]
            return (
                f"its configuration says model.{name} = {shown(found)}: expected {' or '.join(map(str, wanted))}, as "
                f"in RTMDet{f'-{size}' if size else ''}"
            )
    return ""


def _of_model(settings: Settings, name: str) -> object:
    """A setting of `model`, that of mmdet where its part does not write it; None if it is not known."""
    part, _, inner = name.partition(".")
    found, written = setting(settings, f"model.{name}"), setting(settings, f"model.{part}")
    if found is None and isinstance(written, Mapping):
        if inner == "norm_cfg.eps" and written.get("norm_cfg") is None:
            return _UNWRITTEN_EPS
        return None if inner in written else _UNWRITTEN.get(name)
    if name.endswith(".type"):
        return type_name(found)
    return [*found] if isinstance(found, tuple) else found


def type_name(name: object) -> object:
    """The name of a type without its module, as in torch.nn.modules.activation.SiLU."""
    return name.rpartition(".")[2] if isinstance(name, str) else name


def check_network(path: object, names: Collection[str]) -> None:
    """Raise InputError for tensors of a different network, or of a detector inside a larger model."""
    for start, network in OTHER_NETWORKS.items():
        if any(name.startswith(start) for name in names):
            raise InputError(f"{path}: the file holds {network}: expected an RTMDet that finds upright boxes")
    layers = [name for name in names if name.startswith(("neck.", "bbox_head."))]
    if any(name.endswith(".conv.bias") for name in layers) and not any(".bn." in name for name in layers):
        raise InputError(f"{path}: {MERGED} before you save its weights")
    if any(name.startswith(ROOTS) for name in names):
        return
    parts = sorted({name.partition(".")[0] for name in names})
    inner = [name.partition(".")[2] for name in names]
    if any(name.startswith(ROOTS) for name in inner):
        raise InputError(
            f"{path}: the names of its tensors begin with {' and '.join(f'{part}.' for part in parts[:4])}, expected "
            "backbone., neck. and bbox_head.: save the state_dict of the detector alone"
        )
