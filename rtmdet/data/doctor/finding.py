"""What the doctor says: findings, each of one kind with all its cases, and the data that the findings are about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "hint"]
ALL = "all"  # in the place of a split: a finding about label files, before there are splits
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "hint")  # training stops or is misled; suffers; can be better


@dataclass(frozen=True, slots=True)
class Source:
    """One split as the user names it."""

    name: str  # train or val
    annotations: Path  # COCO JSON
    images: Path  # folder that its file names are relative to
    origin: Path | None = None  # what the COCO file was converted from, where it was


@dataclass(frozen=True, slots=True)
class Purpose:
    """What the data are meant for."""

    input_size: tuple[int, int] = (640, 640)  # (H, W) of the network's input
    classes: tuple[str, ...] | None = None  # the wanted ones in the order of their labels; None: all, by id
    known_classes: tuple[str, ...] | None = None  # of the checkpoint that the data are for
    keep_empty: bool = False  # images without objects are trained on too
    repeat_threshold: float = 0.0  # of the configuration


@dataclass(frozen=True, slots=True)
class Item:
    """One case of a finding."""

    text: str
    image_id: int | None = None
    annotation_id: int | None = None
    files: tuple[Path, ...] = ()  # the images to look at
    box: tuple[float, float, float, float] | None = None  # xyxy in pixels of the first image, may lie outside of it


def without_remedy(message: str) -> str:
    """The message of an InputError up to its last part: a finding gives the advice for all its cases once."""
    return message.rpartition("; ")[0] or message


@dataclass(frozen=True, slots=True)
class Finding:
    """All cases of one kind in one split; one without a case is none."""

    severity: Severity
    code: str  # the kind, for programs: lower-case words with hyphens
    split: str  # or ALL
    message: str  # what the cases are, in the plural
    advice: str
    items: tuple[Item, ...]
