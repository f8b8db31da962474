"""The results of an export: how far each file finds what the network finds that it was made of."""

from dataclasses import dataclass
from pathlib import Path

LEAST_MATCHED = 0.995  # of the boxes
LARGEST_SCORE_DIFFERENCE = 0.01


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a file's detections are those of the network that it was made of."""

    images: int
    boxes: int  # of the network, above its score thresholds
    matched: float  # share of both sides' boxes with the same one on the other side, 0 .. 1; 1 without boxes
    box_difference: float  # pixels, the largest of a side of a matched box
    score_difference: float  # the largest of a matched box
    seconds: tuple[float, float]  # an image takes, the network and the file: median, from pixels to boxes

    @property
    def faults(self) -> list[str]:
        """What is not as in the network, in words."""
        faults = []
        if self.matched < LEAST_MATCHED:
            faults.append(f"only {self.matched:.1%} of the boxes are the same, expected {LEAST_MATCHED:.1%}")
        if self.score_difference > LARGEST_SCORE_DIFFERENCE:
            faults.append(
                f"scores differ by up to {self.score_difference:.3f}, at most {LARGEST_SCORE_DIFFERENCE} allowed"
            )
        return faults


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of one format, compared with the network."""

    path: Path
    format: str
    agreement: Agreement
    ap: tuple[float, float] | None  # of the network and of the file; None without annotations
    faults: tuple[str, ...]  # what differs by more than it may; empty: verified
    note: str = ""  # how it was made

    @property
    def verified(self) -> bool:
        """Whether it finds what the network finds."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class Exports:
    """The files of one export; `print` shows how far they agree with the network."""

    files: tuple[ExportedFile, ...]
    images: str  # what they were compared on

    def __str__(self) -> str:
        """The network and its files, then what differs."""
        first = self.files[0]
        boxes = first.agreement.boxes
        lines = [
            f"compared on {self.images}, {boxes} boxes above the score thresholds",
            f"{'file':<32} {'boxes matched':>13} {'largest difference':>24} {'AP':>6} {'median time':>12}",
            f"{'torch':<32} {'':>13} {'':>24} {_ap(first.ap, 0):>6} {first.agreement.seconds[0] * 1000:>9.1f} ms",
        ]
        for file in self.files:
            found = file.agreement
            difference = f"{found.box_difference:.3f} px, score {found.score_difference:.4f}"
            lines.append(
                f"{file.path.name:<32} {found.matched:>13.2%} {difference:>24} {_ap(file.ap, 1):>6} "
                f"{found.seconds[1] * 1000:>9.1f} ms"
            )
        for file in self.files:
            result = "verified" if file.verified else f"NOT verified: {'; '.join(file.faults)}"
            lines.append(f"{file.path}: {result}" + (f" ({file.note})" if file.note else ""))
        return "\n".join(lines)

    __repr__ = __str__  # in a notebook


def _ap(values: tuple[float, float] | None, index: int) -> str:
    """An AP as text; "-" if it is unknown or undefined."""
    return "-" if values is None or values[index] < 0 else f"{values[index]:.3f}"
