"""The last line of a run: the AP of its last epoch beside the best one, and which of them to report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rtmdet.core.wording import size_text
from rtmdet.training.log import Row


def describe_outcome(rows: Iterable[Row], folder: Path, input_size: tuple[int, int] | None = None) -> str:
    """One line from the rows of a run's log; `input_size` (H, W): one chosen for the last validation only."""
    # best.pth is the maximum of several validations on the same images, so its AP is biased upward; that of the last
    # epoch, which `train` always validates, is not.
    values = [float(row["AP"]) for row in rows if row["kind"] == "val"]
    last_file, best_file = folder / "last.pth", folder / "best.pth"
    if not values:
        return f"no validation in the log of this run; weights: {last_file}"
    last, best = values[-1], max(values)
    if last < 0:  # -1: undefined
        return f"AP undefined: the validation images contain no objects; weights: {last_file}"
    if input_size is not None:
        text = f"AP of the last epoch {last:.3f} at {size_text(input_size)} ({last_file})"
        return text + ("; earlier validations used the training size" if len(values) > 1 else "")
    if len(values) == 1:
        return f"AP {last:.3f} after the last epoch ({last_file})"
    if last == best:
        return f"AP of the last epoch {last:.3f} ({last_file}), the best of {len(values)} validations"
    return (
        f"AP of the last epoch {last:.3f} ({last_file}), best of {len(values)} validations {best:.3f} ({best_file}); "
        "the best is chosen on these same images, so its AP is too optimistic: report the last"
    )
