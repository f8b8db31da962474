"""Plots of F1 against the score threshold and of precision against recall: a curve per class.

A dot is at the chosen threshold.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtmdet.evaluation.coco import ClassMetrics
from rtmdet.evaluation.score_curve import THRESHOLDS
from rtmdet.training.records import Callback, ValidationRecord
from rtmdet.viz.curves import COLORS, line_of
from rtmdet.viz.figures import label_text, run_continues, style_axes, write_figure

OTHERS = "0.75"  # gray, for classes beyond the colors
FEW = 3  # classes whose thresholds can be written beside each other
MARKED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class ScoreCurvePicture(Callback):
    """A callback that draws the curves of the best validation, which belong to best.pth."""

    def __init__(self, picture: Path) -> None:
        self.picture = picture

    def on_validation(self, record: ValidationRecord) -> None:
        """Draw if it is the best so far."""
        if record.best:
            with run_continues():
                draw_score_curves(record.metrics.classes, self.picture)


def draw_score_curves(classes: Sequence[ClassMetrics], path: Path) -> None:
    """Write the picture; raises InputError if the file cannot be written.

    The classes with the most objects have colors and are in the legend; all others are gray.
    """
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    score, trade = figure.subplots(1, 2)
    drawn = sorted((row for row in classes if row.curve is not None), key=lambda row: -row.objects)
    for index, row in reversed(list(enumerate(drawn))):  # colored ones last, on top
        named = index < len(COLORS)
        color, style = line_of(index) if named else (OTHERS, "-")
        _draw_class(score, trade, row, color, style, named=named)
        if len(drawn) <= FEW:
            _write_thresholds(trade, row, color)
    numbers = "; numbers: score thresholds" if 0 < len(drawn) <= FEW else ""
    for axes, title, x, y in (
        (score, "F1 at IoU 0.5, and the threshold chosen", "score threshold", "F1"),
        (
            trade,
            f"Precision at IoU 0.5{numbers}",
            "recall: share of the objects found",
            "precision: share of the boxes right",
        ),
    ):
        style_axes(axes, title, nothing="" if drawn else "nothing found yet")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel=x, ylabel=y)
    if drawn:
        handles, labels = score.get_legend_handles_labels()
        columns = 2 if len(labels) > 2 and max(map(len, labels)) < 60 else 1
        figure.legend(handles[::-1], labels[::-1], loc="outside lower left", frameon=False, fontsize=9, ncols=columns)
    write_figure(figure, path)


def _write_thresholds(axes: Axes, row: ClassMetrics, color: str) -> None:
    """Some score thresholds at their places on the curve of precision over recall."""
    assert row.curve is not None, "only classes with a curve are drawn"
    for threshold in MARKED:
        index = THRESHOLDS.index(threshold)
        if row.curve.recall[index] > 0:
            place = row.curve.recall[index], row.curve.precision[index]
            axes.annotate(f"{threshold:g}", place, (3, 3), textcoords="offset points", color=color, fontsize=8)


def _draw_class(score: Axes, trade: Axes, row: ClassMetrics, color: str, style: str, *, named: bool) -> None:
    assert row.curve is not None, "only classes with a curve are drawn"
    curve = row.curve
    precision, recall = curve.chosen
    f1 = curve.f1[THRESHOLDS.index(curve.threshold)]
    facts = f"F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f}, {row.objects} objects"
    label = f"{label_text(row.name)}: {curve.threshold:.3f} ({facts})" if named else None
    width = 1.6 if named else 0.7
    score.plot(THRESHOLDS, curve.f1, style, color=color, linewidth=width, label=label)
    trade.plot(curve.recall, curve.precision, style, color=color, linewidth=width)
    if named:
        score.plot(curve.threshold, f1, "o", color=color, mec="white")
        trade.plot(recall, precision, "o", color=color, mec="white")
