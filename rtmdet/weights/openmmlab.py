"""Metadata of OpenMMLab's weights files: class names, test input size, and detection of other networks."""

import ast
from collections.abc import Collection, Mapping

from rtmdet.core.errors import InputError

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


def class_names(meta: object) -> tuple[str, ...] | None:
    """The names in `meta.dataset_meta.classes` or, before mmdet 3, in `meta.CLASSES`."""
    if not isinstance(meta, Mapping):
        return None
    data = meta.get("dataset_meta")
    owners = [data, meta] if isinstance(data, Mapping) else [meta]
    names = next((owner[key] for owner in owners for key in ("classes", "CLASSES") if owner.get(key)), None)
    if isinstance(names, str):
        return (names,)
    return tuple(map(str, names)) if isinstance(names, list | tuple) else None


def input_size(meta: object) -> tuple[int, int] | None:
    """(H, W) of the test input, from the configuration in `meta.cfg`; None if it has no usable one.

    The configuration is Python code; its syntax tree is read, nothing is executed. The size is that of the Pad in
    `test_pipeline`, else of its Resize.
    """
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        lines = ast.parse(text).body if isinstance(text, str) else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for line in lines:
        if isinstance(line, ast.Assign) and "test_pipeline" in [getattr(name, "id", "") for name in line.targets]:
            calls = [node for node in ast.walk(line) if isinstance(node, ast.Call)]
            sizes = {kind: _sides(call, key) for call in calls for kind, key in _SIZED.items() if _kind(call) == kind}
            return sizes.get("Pad") or sizes.get("Resize")
    return None


_SIZED = {"Pad": "size", "Resize": "scale"}  # transforms, and their argument (W, H)


def _kind(call: ast.Call) -> object:
    return next((_literal(word.value) for word in call.keywords if word.arg == "type"), None)


def _sides(call: ast.Call, key: str) -> tuple[int, int] | None:
    found = next((_literal(word.value) for word in call.keywords if word.arg == key), None)
    if not isinstance(found, tuple) or len(found) != 2 or not all(isinstance(side, int) for side in found):
        return None
    width, height = found
    return (height, width) if all(32 <= side <= 8192 and side % 32 == 0 for side in found) else None


def _literal(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


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
