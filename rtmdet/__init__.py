"""RTMDet in plain PyTorch.

The names below are imported on first use, so that `import rtmdet` and every `--help` stay fast.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "Callback": "rtmdet.training.records",
    "Detections": "rtmdet.core.detections",
    "Detector": "rtmdet.detector",
    "InputError": "rtmdet.core.errors",
    "Overlap": "rtmdet.core.overlap",
    "RTMDet": "rtmdet.models.rtmdet",
    "build_rtmdet": "rtmdet.models.rtmdet",
    "check_data": "rtmdet.api.datasets",
    "compare": "rtmdet.api.runs",
    "convert_data": "rtmdet.api.datasets",
    "evaluate": "rtmdet.api.detectors",
    "export": "rtmdet.api.detectors",
    "export_data": "rtmdet.api.datasets",
    "label": "rtmdet.api.detectors",
    "merge_data": "rtmdet.api.datasets",
    "split_data": "rtmdet.api.datasets",
    "track": "rtmdet.stream.tracking",
    "train": "rtmdet.api.runs",
}

__all__ = [
    "Callback",
    "Detections",
    "Detector",
    "InputError",
    "Overlap",
    "RTMDet",
    "__version__",
    "build_rtmdet",
    "check_data",
    "compare",
    "convert_data",
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
    from rtmdet.api.detectors import evaluate, export, label
    from rtmdet.api.runs import compare, train
    from rtmdet.core.detections import Detections
    from rtmdet.core.errors import InputError
    from rtmdet.core.overlap import Overlap
    from rtmdet.detector import Detector
    from rtmdet.models.rtmdet import RTMDet, build_rtmdet
    from rtmdet.stream.tracking import track
    from rtmdet.training.records import Callback


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'rtmdet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
