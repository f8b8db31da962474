"""What the doctor says: findings, each of one kind with all its cases, and the data that the findings are about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "hint"]
ALL = "all"  # in the place of a split: a finding about label files, before there are splits
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "hint")  # training stops or is misled; suffers; can be better


EXAMPLES = 3  # cases of a finding that are printed


@dataclass(frozen=True, slots=True)
class SplitFiles:
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

    def __str__(self) -> str:
        examples = [item.text for item in self.items[:EXAMPLES]]
        more = len(self.items) - len(examples)
        head = f"{self.severity:<8} {self.split:<5} {len(self.items):>7}  {self.message} ({self.code})"
        rest = [f"... and {more} more"] if more else []
        return ("\n" + " " * 24).join([head, *examples, *rest, f"-> {self.advice}"])


@dataclass(frozen=True, slots=True)
class Summary:
    """One split in numbers."""

    split: str
    images: int
    objects: int
    classes: tuple[str, ...]
    kept_images: int  # that training would show, or the evaluation measure
    kept_objects: int  # that it would learn from, or look for
    shorter_sides: dict[str, float]  # share of the usable boxes by shorter side at the input
    aspect_ratios: tuple[float, ...]  # 5 %, 50 %, 95 % quantiles of width / height; () without usable boxes


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found: findings by falling severity; `print` shows them with a summary of each split."""

    splits: tuple[SplitFiles, ...]
    purpose: Purpose
    summaries: tuple[Summary, ...]  # of each split
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()  # about the format that was read

    @property
    def harmful(self) -> bool:
        """Whether training would stop, be misled or suffer."""
        return any(finding.severity != "hint" for finding in self.findings)

    def __str__(self) -> str:
        summaries = [self._describe(*both) for both in zip(self.splits, self.summaries, strict=True)]
        return "\n".join([*self.remarks, *summaries, *map(str, self.findings), self._conclusion()])

    def _describe(self, split: SplitFiles, summary: Summary) -> str:
        """A split in numbers."""
        height, width = self.purpose.input_size
        verb = "training keeps" if summary.split == "train" else "the evaluation takes"
        sides = ", ".join(f"{name} {share:.1%}" for name, share in summary.shorter_sides.items())
        classes = "1 class" if len(summary.classes) == 1 else f"{len(summary.classes)} classes"
        lines = [
            f"{summary.split}: {split.origin or split.annotations}",
            f"    {summary.images} images, {summary.objects} objects, {classes}; "
            f"{verb} {summary.kept_images} images, {summary.kept_objects} objects",
            f"    shorter side of the boxes at {width} x {height}: {sides}",
        ]
        if summary.aspect_ratios:
            low, middle, high = summary.aspect_ratios
            lines.append(f"    width / height of the boxes: median {middle:.2f}, 90% in {low:.2f} .. {high:.2f}")
        return "\n".join(lines)

    def _conclusion(self) -> str:
        """How many findings of each severity, and what follows."""
        numbers = Counter(finding.severity for finding in self.findings)
        counts = ", ".join(f"{numbers[kind]} {kind}{'s' * (numbers[kind] != 1)}" for kind in SEVERITIES)
        if numbers["error"]:
            return f"{counts}: training would stop or be misled"
        return f"{counts}: training would {'suffer' if self.harmful else 'run well on these data'}"
