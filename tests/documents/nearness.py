"""How near the boxes of another program must be to ours: it resizes photos by the same arithmetic."""

from collections.abc import Sequence

import numpy as np

from rtmdet.core.detections import Detections


def assert_near(rows: Sequence[Sequence[str]], expected: Detections) -> None:
    """Rows of name, score and box: as many, scores within 0.01, boxes within 0.01 pixels and what rounding adds."""
    assert len(rows) == len(expected) >= 2
    assert sorted(row[0] for row in rows) == sorted(expected.names)
    numbers = np.array([[float(number) for number in row[1:]] for row in rows])  # score, box
    for score, box in zip(expected.scores.tolist(), expected.numpy().boxes, strict=True):
        differences = np.abs(numbers - [score, *box])
        score_difference, *sides = differences[differences[:, 1:].max(1).argmin()]
        assert score_difference < 0.01
        assert max(sides) < 0.015
