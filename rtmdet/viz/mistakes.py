"""Pictures of what a detector gets wrong: what it missed, saw where nothing is, or took for something else.

The boxes of an image, and the confusion matrix: which classes are detected, missed, or taken for which others.
"""

from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rtmdet.core.class_colors import Color
from rtmdet.core.draw import draw_boxes
from rtmdet.evaluation.mistakes import IOU, Kind, MarkedBox, MarkedImage, Mistakes, Pair
from rtmdet.viz.figures import label_text, write_figure
from rtmdet.viz.grid import add_caption

# At least 44 apart in CIELAB, with deuteranopia and protanopia, too; the texts say the same without color.
COLORS: dict[Kind, tuple[Color, str]] = {
    Kind.FOUND: ((40, 170, 150), "green"),
    Kind.CONFUSED: ((120, 50, 220), "purple"),
    Kind.MISSED: ((255, 190, 0), "yellow"),
    Kind.FALSE: ((150, 10, 30), "dark red"),
}
MOST_CLASSES = 40  # in a confusion matrix that can be read
LIGHT = 0.7  # the largest shade on which black is read


def draw_marked(picture: np.ndarray, marked: MarkedImage) -> np.ndarray:
    """A new (H, W, 3) uint8 RGB picture: the boxes, mistakes on top and with names, and a caption below."""
    boxes = np.array([mark.box for mark in marked.boxes], np.float64).reshape(-1, 4)
    colors = [COLORS[mark.kind][0] for mark in marked.boxes]
    drawn = draw_boxes(picture, boxes, [_text(mark) for mark in marked.boxes], colors)
    counts = marked.counts
    return add_caption(
        drawn, ", ".join(f"{counts[kind]} {kind} ({COLORS[kind][1]})" for kind in Kind if counts[kind])
    )


def _text(one: MarkedBox) -> str:
    if one.kind is Kind.FOUND:
        return ""
    if one.score is None:
        return f"missed: {one.pair.truth}"
    text = f"{one.pair.detected} {one.score:.2f}"
    return f"{text}, is {one.pair.truth}" if one.pair.truth else f"false: {text}"


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
