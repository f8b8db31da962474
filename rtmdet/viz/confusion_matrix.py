"""Picture of the confusion matrix: which classes are detected, missed, or taken for which others."""

from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rtmdet.evaluation.mistakes import IOU, Kind, Mistakes, Pair
from rtmdet.viz.figures import label_text, write_figure

MOST_CLASSES = 40  # in a picture that can be read
LIGHT = 0.7  # the largest shade on which black is read


def draw_confusion(mistakes: Mistakes, path: Path) -> None:
    """Write the confusion matrix: how often objects of each class (rows) were detected as each class (columns).

    The last column counts objects missed, the last row, which has no shades, false boxes. Of
    more than MOST_CLASSES classes those with the most mistakes are shown. Raises InputError if it cannot be written.
    """
    names = _most_mistaken(mistakes)
    counts = np.array([[mistakes.pairs[Pair(truth, name)] for name in (*names, "")] for truth in (*names, "")])
    objects = mistakes.objects
    shades = counts / np.maximum([[objects[truth]] for truth in (*names, "")], 1)
    shades[-1] = 0  # false boxes are no share of any objects
    side = 3.5 + 0.45 * len(names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names) + 1)
    axes.set_xticks(ticks, [*map(label_text, names), "missed"], rotation=90)
    axes.set_yticks(ticks, [*map(label_text, names), "no object"])
    axes.set(xlabel="detected as", ylabel="object")
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shades[row, column] > LIGHT else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=8)
    shown = "" if len(names) == len(mistakes.classes) else f", {len(names)} of {len(mistakes.classes)} classes"
    axes.set_title(
        f"Objects at IoU {IOU}{shown}; shades: shares of a row", loc="left", fontsize=11, fontweight="bold"
    )
    write_figure(figure, path)


def _most_mistaken(mistakes: Mistakes) -> list[str]:
    """At most MOST_CLASSES classes, those with the most mistakes, in label order."""
    wrong = Counter(dict.fromkeys(mistakes.classes, 0))
    for pair, count in mistakes.pairs.items():
        if pair.kind is not Kind.FOUND:
            wrong.update(dict.fromkeys(filter(None, pair), count))
    chosen = {name for name, _ in wrong.most_common(MOST_CLASSES)}
    return [name for name in mistakes.classes if name in chosen]
