"""Pictures of mistakes: each kind is told by its text, too, not by its color alone."""

import numpy as np
import pytest

import rtmdet.viz.mistakes
from rtmdet.evaluation.mistakes import MarkedBox, MarkedImage, Pair

BOX = (10.0, 10.0, 30.0, 30.0)


def test_texts_tell_the_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def draw(
        picture: np.ndarray, boxes: np.ndarray, texts: list[str], colors: list[tuple[int, int, int]]
    ) -> np.ndarray:
        drawn.extend(texts)
        assert len(set(colors)) == len(boxes) == 4
        return picture

    monkeypatch.setattr(rtmdet.viz.mistakes, "draw_boxes", draw)
    pairs = [(Pair("cat", ""), None), (Pair("", "cat"), 0.5), (Pair("dog", "cat"), 0.7), (Pair("cat", "cat"), 0.9)]
    boxes = tuple(MarkedBox(pair, BOX, score) for pair, score in pairs)
    picture = rtmdet.viz.mistakes.draw_marked(np.zeros((40, 60, 3), np.uint8), MarkedImage(1, boxes))
    assert drawn == ["missed: cat", "false: cat 0.50", "cat 0.70, is dog", ""]
    assert picture.shape[0] > 40, "a caption names the colors"
