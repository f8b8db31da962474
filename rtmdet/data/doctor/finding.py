"""The doctor's report: findings, each of one kind with all its cases, and a summary of each split."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rtmdet.core.errors import escaped
from rtmdet.core.wording import size_text

Severity = Literal["error", "warning", "hint"]
ALL = "all"  # in place of a split: findings about label files, before there are splits
# Training stops or learns from wrong data; runs but does worse; could do better.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "hint")
EXAMPLES = 3  # printed cases per finding


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """One split as the user names it."""

    name: str  # train or val
    annotations: Path  # COCO JSON
    images: Path  # its file names are relative to this folder
    origin: Path | None = None  # what the COCO file was converted from, if it was


@dataclass(frozen=True, slots=True)
class Purpose:
    """The training that the data are checked for."""

    input_size: tuple[int, int] = (640, 640)  # (H, W) of the network's input
    classes: tuple[str, ...] | None = None  # the classes to learn in the order of their labels; None: all, by id
    known_classes: tuple[str, ...] | None = None  # classes of the checkpoint to start from
    keep_empty: bool = False  # train on images without objects too
    repeat_threshold: float = 0.0  # data.repeat_threshold
    tile: int | None = None  # data.tile


@dataclass(frozen=True, slots=True)
class Item:
    """One case of a finding."""

    text: str
    image_id: int | None = None
    annotation_id: int | None = None
    files: tuple[Path, ...] = ()  # the images to look at
    box: tuple[float, float, float, float] | None = None  # xyxy in pixels of the first image, may lie outside of it


@dataclass(frozen=True, slots=True)
class Finding:
    """All cases of one kind in one split; a finding without cases is not reported."""

    severity: Severity
    code: str  # the kind, for programs: lowercase words with hyphens
    split: str  # train, val or ALL
    message: str  # what the cases are, a plural noun
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
    kept_images: int  # used by training or evaluation
    kept_objects: int  # used by training or evaluation
    shorter_sides: dict[str, float]  # fraction of the usable boxes by shorter side at the input
    aspect_ratios: tuple[float, ...]  # 5 %, 50 %, 95 % quantiles of width / height; () without usable boxes


@dataclass(frozen=True, slots=True)
class Report:
    """Findings, the most severe first; `print` shows them with a summary of each split."""

    splits: tuple[SplitFiles, ...]
    purpose: Purpose
    summaries: tuple[Summary, ...]  # of each split
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()  # about reading the format

    @property
    def harmful(self) -> bool:
        """Whether there is an error or a warning."""
        return any(finding.severity != "hint" for finding in self.findings)

    def __str__(self) -> str:
        summaries = [self._summary_text(*both) for both in zip(self.splits, self.summaries, strict=True)]
        lines = [*self.remarks, *summaries, *map(str, self.findings), self._conclusion()]
        return escaped("\n".join(lines), keep="\n")  # names of files may hold what no terminal shows

    __repr__ = __str__  # in a notebook

    def _summary_text(self, split: SplitFiles, summary: Summary) -> str:
        verb = "training uses" if summary.split == "train" else "evaluation uses"
        sides = ", ".join(f"{name} {share:.1%}" for name, share in summary.shorter_sides.items())
        classes = "1 class" if len(summary.classes) == 1 else f"{len(summary.classes)} classes"
        lines = [
            f"{summary.split}: {split.origin or split.annotations}",
            f"    {summary.images} images, {summary.objects} objects, {classes}; "
            f"{verb} {summary.kept_images} images, {summary.kept_objects} objects",
            f"    shorter side of the boxes at input size {size_text(self.purpose.input_size)}: {sides}",
        ]
        if summary.aspect_ratios:
            low, middle, high = summary.aspect_ratios
            lines.append(f"    width / height of the boxes: median {middle:.2f}, 90% within {low:.2f} .. {high:.2f}")
        return "\n".join(lines)

    def _conclusion(self) -> str:
        """The number of findings of each severity, and what they mean for the use of the data."""
        trains = any(summary.split == "train" for summary in self.summaries)
        use, wrong = ("training", "learn from") if trains else ("evaluation", "measure on")
        numbers = Counter(finding.severity for finding in self.findings)
        counts = ", ".join(f"{numbers[kind]} {kind}{'s' * (numbers[kind] != 1)}" for kind in SEVERITIES)
        if numbers["error"]:
            return f"{counts}: {use} would stop or {wrong} wrong data"
        result = "run, but with worse or misleading results" if self.harmful else "run well on these data"
        return f"{counts}: {use} would {result}"
