"""What a detector must know besides its network: it travels in checkpoints and in exported files.

An exported file has them as JSON texts by name, which other programs can read, too. Dimension legend: K classes.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import PAD_VALUE
from rtmdet.core.nms import ORIGINAL, NmsSettings
from rtmdet.core.tiling import Tiling
from rtmdet.core.wording import LONGEST_LINE, is_one_line, shown

FORMAT = "plain-rtmdet 1"
LARGEST_SIDE = 8192  # pixels of the network's input
USUAL_INPUT_SIZE = (640, 640)  # (H, W) of the published weights
# For other programs; rtmdet.core.letterbox is the same rule as code.
LETTERBOX = {
    "scale": "min(height / image_height, width / image_width)",
    "size": "floor(side * scale + 0.5), at least 1",
    "interpolation": "bilinear",
    "position": "top left",
    "padding": PAD_VALUE,
}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Class names, sizes and thresholds of a detector, and how it looks at pictures."""

    classes: tuple[str, ...]  # K names
    input_size: tuple[int, int]  # (H, W) of the network's input, for detection
    named: bool = True  # False: the names are only numbers
    category_ids: tuple[int, ...] = ()  # of the classes in the training's annotation file; empty: unknown
    score_thresholds: tuple[float, ...] = ()  # tuned threshold of each class; empty: unknown
    value_range: tuple[int, int] | None = None  # of 16-bit images: values that become black and white
    nms: NmsSettings = ORIGINAL
    tiling: Tiling | None = None  # windows in which pictures are looked at besides the whole; None: only that
    size: str = ""  # of the model, a key of zoo.SIZES; empty: unknown
    backbone: str = ""  # timm/<name>; empty: CSPNeXt, or unknown
    config: str = ""  # YAML of the training run; empty: unknown

    def __post_init__(self) -> None:
        if any(side < 32 or side % 32 or side > LARGEST_SIDE for side in self.input_size):
            raise InputError(
                f"input size {self.input_size}: each side must be a multiple of 32 pixels, at most {LARGEST_SIDE}"
            )

    def check_classes(self, classes: int) -> None:
        """Raise InputError unless the network has as many classes as there are names, ids and thresholds."""
        if len(self.classes) != classes:
            raise InputError(
                f"the detector has {classes} class{'' if classes == 1 else 'es'}, found {len(self.classes)} names "
                f"({', '.join(self.classes)}): "
                "give as many names as there are classes"
            )
        for what, values in (("category_ids", self.category_ids), ("score_thresholds", self.score_thresholds)):
            if len(values) not in (0, classes):
                raise InputError(
                    f"{what}: expected one per class, {classes}, found {len(values)}: give as many, or none, ()"
                )


def check_names(names: Iterable[str]) -> None:
    """Raise InputError for class names that no label file could hold: empty, repeated, or with a line break."""
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not isinstance(name, str) or not is_one_line(name):
            raise InputError(
                f"class name {number}: expected one line of at most {LONGEST_LINE} letters, found {shown(name)}: "
                "rename the class"
            )
        if name in seen:
            raise InputError(f"class name {name!r}: expected different names, found it twice: rename one")
        seen.add(name)


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """What an exported file says about itself."""

    model: ModelFacts
    version: str  # of the package that wrote it
    weights: str  # SHA-256 of the weights file that it was made of; empty for a model in memory
    fixed_input: bool = False  # takes only images of model.input_size
    fixed_batch: int | None = None  # number of images in every batch; None: any
    nms: "NmsFacts | None" = None  # of the NMS in the file; None: the outputs are all boxes
    int8: bool = False  # most convolutions calculate with 8-bit integers

    def __post_init__(self) -> None:
        if self.nms is not None and self.model.nms.box_voting:
            raise InputError("NMS in the file drops the boxes that box voting needs: expected one of them")
        if self.fixed_batch is not None and self.fixed_batch < 1:
            raise InputError(f"a fixed batch of {self.fixed_batch} images: expected at least 1")

    def to_text(self) -> dict[str, str]:
        """Every fact as JSON, by its name."""
        values: dict[str, object] = {
            "format": FORMAT,
            "version": self.version,
            "weights_sha256": self.weights,
            **plain_facts(self.model),
            "letterbox": LETTERBOX,
            "fixed_input": self.fixed_input,
            "fixed_batch": self.fixed_batch,
            "nms": None if self.nms is None else asdict(self.nms),
            "int8": self.int8,
        }
        return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class NmsFacts:
    """The NMS in an exported file."""

    score: float  # least score of a box
    iou: float  # largest overlap of two boxes of a class
    most: int  # boxes of a class in an image

    def __post_init__(self) -> None:
        for name, value in (("a score of", self.score), ("IoU", self.iou)):
            if not 0 <= value <= 1:
                raise InputError(f"NMS with {name} {value}: expected 0 .. 1")


def numbered(classes: int) -> tuple[str, ...]:
    """Names for K classes whose names are unknown."""
    return tuple(f"class {k}" for k in range(classes))


def plain_facts(facts: ModelFacts) -> dict[str, object]:
    """The facts as the plain values that files store, by name; `model_facts` reads them."""
    return {
        "classes": list(facts.classes),
        "classes_named": facts.named,
        "category_ids": list(facts.category_ids),
        "score_thresholds": list(facts.score_thresholds),
        "input_size": list(facts.input_size),
        "value_range": None if facts.value_range is None else list(facts.value_range),
        **asdict(facts.nms),
        "tile": None if facts.tiling is None else facts.tiling.side,
        "size": facts.size,
        "backbone": facts.backbone,
        "config": facts.config,
    }


def read_nms(values: Mapping[str, Any]) -> NmsSettings:
    """The rule for boxes that overlap, from `plain_facts`. Raises KeyError, TypeError or ValueError."""
    voting = values["box_voting"]
    if not isinstance(voting, bool):
        raise TypeError(f"box_voting {voting!r}: expected true or false")
    return NmsSettings(float(values["iou_threshold"]), voting)


def read_tiling(values: Mapping[str, Any]) -> Tiling | None:
    """The windows, from `plain_facts`. Raises KeyError, TypeError or ValueError."""
    return None if values["tile"] is None else Tiling(int(values["tile"]))


def model_facts(values: Mapping[str, Any]) -> ModelFacts:
    """The facts in a file's metadata, plain values by the names in `plain_facts`.

    Raises KeyError, TypeError or ValueError for damaged ones.
    """
    classes = tuple(map(str, values["classes"]))
    if not classes:
        raise ValueError("no class names")
    check_names(classes)
    ids = tuple(map(int, values["category_ids"]))
    if ids and not len(ids) == len(set(ids)) == len(classes):
        raise ValueError(f"category_ids {list(ids)[:5]} of {len(classes)} classes")
    thresholds = tuple(map(float, values["score_thresholds"]))
    if thresholds and (len(thresholds) != len(classes) or not all(0 <= score <= 1 for score in thresholds)):
        raise ValueError(f"score_thresholds {list(thresholds)[:5]} of {len(classes)} classes")
    return ModelFacts(
        classes,
        as_pair(values["input_size"]),
        named=bool(values.get("classes_named", True)),
        category_ids=ids,
        score_thresholds=thresholds,
        value_range=None if values["value_range"] is None else _rising_pair(values["value_range"]),
        nms=read_nms(values),
        tiling=read_tiling(values),
        size=str(values["size"]),
        backbone=str(values["backbone"]),
        config=str(values["config"]),
    )


def _rising_pair(value: Any) -> tuple[int, int]:
    low, high = as_pair(value)
    if not 0 <= low < high:
        raise ValueError(f"value_range {[low, high]}")
    return low, high


def as_pair(value: Any) -> tuple[int, int]:
    """Two integers, such as (H, W), from a file's plain value. Raises TypeError or ValueError."""
    first, second = map(int, value)
    return first, second


def read_facts(path: Path, text: Mapping[str, str]) -> ExportFacts:
    """The facts in a file's metadata. Raises InputError if the file is not from `rtmdet export`, or damaged."""
    if "format" not in text or "classes" not in text:
        raise InputError(
            f"{path}: expected a file of rtmdet export, found one without its class names and sizes: export the "
            "checkpoint with rtmdet export"
        )
    if (found := text["format"].strip('"')) != FORMAT:
        raise InputError(f"{path}: expected the format {FORMAT}, found {found}: export it again")
    try:
        values: dict[str, Any] = {name: json.loads(text[name]) for name in _NAMES if name in text}
        nms = values["nms"]
        return ExportFacts(
            model=model_facts(values),
            version=str(values["version"]),
            weights=str(values["weights_sha256"]),
            fixed_input=bool(values["fixed_input"]),
            fixed_batch=None if values["fixed_batch"] is None else int(values["fixed_batch"]),
            nms=None if nms is None else NmsFacts(float(nms["score"]), float(nms["iou"]), int(nms["most"])),
            int8=bool(values["int8"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: its metadata is damaged ({what}): export it again") from error


# Whatever the facts are. Metadata of other programs, beside them, need not be JSON.
_NAMES = tuple(ExportFacts(ModelFacts((), USUAL_INPUT_SIZE), version="", weights="").to_text())
