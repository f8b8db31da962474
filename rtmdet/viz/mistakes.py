"""Pictures of what a detector gets wrong: what it missed, saw where nothing is, or took for something else."""

import numpy as np

from rtmdet.core.class_colors import Color
from rtmdet.core.draw import draw_boxes
from rtmdet.evaluation.mistakes import Kind, MarkedBox, MarkedImage
from rtmdet.viz.grid import add_caption

# At least 44 apart in CIELAB, with deuteranopia and protanopia, too; the texts say the same without color.
COLORS: dict[Kind, tuple[Color, str]] = {
    Kind.FOUND: ((40, 170, 150), "green"),
    Kind.CONFUSED: ((120, 50, 220), "purple"),
    Kind.MISSED: ((255, 190, 0), "yellow"),
    Kind.FALSE: ((150, 10, 30), "dark red"),
}


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
