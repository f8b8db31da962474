"""RTMDet in plain PyTorch. The way of an image, from file to file:

- in training: data/coco/dataset (decoded, with its boxes), data/samples with data/augment/transforms (augmented),
  data/loader (a batch), training/engine and step, models/rtmdet with backbone, neck and head (dense outputs),
  training/criterion with assigner (losses);
- in prediction: detector, core/letterbox (the input), deploy/torch_backend with models/rtmdet (dense outputs),
  core/postprocess (detections), core/detections (drawn, saved).

The names below are imported on first use, so that `import rtmdet` and every `--help` stay fast.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_NAMES = {
    "rtmdet.api.datasets": ("check_data", "convert_data", "export_data", "merge_data", "split_data"),
    "rtmdet.api.detectors": ("draw_mistakes", "evaluate", "export"),
    "rtmdet.api.runs": ("train",),
    "rtmdet.api.visualizers": ("draw_box_am", "draw_feature_maps"),
    "rtmdet.core.detections": ("Detections",),
    "rtmdet.core.errors": ("InputError",),
    "rtmdet.core.nms": ("NmsSettings",),
    "rtmdet.detector": ("Detector",),
    "rtmdet.measuring.compare": ("compare",),
    "rtmdet.models.rtmdet": ("RTMDet", "build_rtmdet"),
    "rtmdet.stream.label": ("label",),
    "rtmdet.stream.tracking": ("track",),
    "rtmdet.training.interruption": ("Interrupted",),
    "rtmdet.training.records": ("Callback",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Callback",
    "Detections",
    "Detector",
    "InputError",
    "Interrupted",
    "NmsSettings",
    "RTMDet",
    "__version__",
    "build_rtmdet",
    "check_data",
    "compare",
    "convert_data",
    "draw_box_am",
    "draw_feature_maps",
    "draw_mistakes",
    "evaluate",
    "export",
    "export_data",
    "label",
    "merge_data",
    "split_data",
    "track",
    "train",
]

if TYPE_CHECKING:
    from rtmdet.api.datasets import check_data, convert_data, export_data, merge_data, split_data
    from rtmdet.api.detectors import draw_mistakes, evaluate, export
    from rtmdet.api.runs import train
    from rtmdet.api.visualizers import draw_box_am, draw_feature_maps
    from rtmdet.core.detections import Detections
    from rtmdet.core.errors import InputError
    from rtmdet.core.nms import NmsSettings
    from rtmdet.detector import Detector
    from rtmdet.measuring.compare import compare
    from rtmdet.models.rtmdet import RTMDet, build_rtmdet
    from rtmdet.stream.label import label
    from rtmdet.stream.tracking import track
    from rtmdet.training.interruption import Interrupted
    from rtmdet.training.records import Callback


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name in ("DetInferencer", "inference_detector", "init_detector"):
        # No AttributeError, whose text `from rtmdet import ...` does not show.
        raise ImportError(f"rtmdet has no {name}, which is mmdet's: use rtmdet.Detector, see docs/from-mmdet.md")
    if name not in _HOMES:
        raise AttributeError(f"module 'rtmdet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
