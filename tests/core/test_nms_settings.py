"""Box voting: which boxes vote on which, where that moves them, and that score thresholds do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.nms import CHUNK, ORIGINAL, NmsSettings
from rtmdet.core.postprocess import postprocess
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import DenseOutputs

KEPT = ((0, 0, 10, 10), 0.8, 0)
VOTING = NmsSettings(0.6, box_voting=True)


def detections(*rows: tuple[tuple[float, ...], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels))


@pytest.mark.parametrize(
    ("other", "bottom"),
    [
        (((0, 0, 10, 8), 0.8, 0), (10 * 0.4 + 8 * 0.2) / 0.6),  # as sure, half as near beyond the threshold
        (((0, 0, 10, 8), 0.6, 0), (10 * 0.4 * 0.4 + 8 * 0.2 * 0.2) / (0.4 * 0.4 + 0.2 * 0.2)),
        (((0, 0, 10, 8), 0.4, 0), 10),  # only half of the score
        (((0, 0, 10, 8), 0.8, 1), 10),  # another class
        (((0, 0, 10, 6), 0.8, 0), 10),  # NMS keeps both
    ],
)
def test_boxes_move_to_the_mean_of_their_voters(other: tuple[tuple[float, ...], float, int], bottom: float) -> None:
    moved = VOTING.vote(detections(KEPT), detections(KEPT, other))
    np.testing.assert_allclose(moved.boxes, [[0, 0, 10, bottom]], rtol=1e-6)
    assert (moved.scores.tolist(), moved.labels.tolist()) == ([np.float32(0.8)], [0])


def test_the_original_moves_nothing() -> None:
    kept = detections(KEPT)
    assert ORIGINAL.vote(kept, detections(KEPT, ((0, 0, 10, 8), 0.8, 0))) is kept
    assert VOTING.vote(kept[:0], kept[:0]).boxes.shape == (0, 4)


def test_many_boxes_move_as_each_alone_and_in_torch_as_in_numpy() -> None:
    rng = np.random.default_rng(0)
    corners = rng.random((400, 2), np.float32) * 60
    boxes = np.hstack([corners, corners + 20 + rng.random((400, 2), np.float32)])
    found = Detections(boxes, -np.sort(-rng.random(400, np.float32)), rng.integers(2, size=400))
    kept = found[: 2 * CHUNK + 5]
    moved = VOTING.vote(kept, found)
    alone = np.concatenate([VOTING.vote(kept[row : row + 1], found).boxes for row in range(len(kept))])
    np.testing.assert_allclose(moved.boxes, alone, rtol=1e-5)
    assert (np.abs(moved.boxes - kept.boxes).max(1) > 0.1).sum() > 5
    tensors = [
        replace(part, **{name: torch.from_numpy(getattr(part, name)) for name in ("boxes", "scores", "labels")})
        for part in (kept, found)
    ]
    np.testing.assert_allclose(VOTING.vote(*tensors).boxes, moved.boxes, rtol=1e-5)


def test_half_precision_around_it_changes_nothing() -> None:
    """A matrix product would be calculated with 8 bits there, too few for pixels."""
    box = torch.tensor([[1237.3, 801.7, 1401.2, 903.4]])
    alone = Detections(box, torch.tensor([0.9]), torch.tensor([0]))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(VOTING.vote(alone, alone).boxes, box)


def test_a_box_as_small_as_a_rounding_error_stays_where_it_is() -> None:
    tiny = detections(((639.9999, 10, 640, 10.004), 0.9, 0))
    np.testing.assert_allclose(VOTING.vote(tiny, tiny).boxes, tiny.boxes)


def test_boxes_do_not_depend_on_the_score_threshold() -> None:
    rng = torch.Generator().manual_seed(0)
    cells = [64 // stride for stride in STRIDES]
    outputs = DenseOutputs(
        tuple(torch.randn(1, 1, n, n, generator=rng) for n in cells),
        tuple(torch.rand(1, 4, n, n, generator=rng) * 10 + 20 for n in cells),
    )
    (every,) = postprocess(outputs, Selection(0.001, VOTING), input_size=(64, 64))
    (sure,) = postprocess(outputs, Selection(0.6, VOTING), input_size=(64, 64))
    (plain,) = postprocess(outputs, Selection(0.6, NmsSettings(0.6)), input_size=(64, 64))
    assert 5 < len(sure) < len(every)
    torch.testing.assert_close(sure.boxes, every.boxes[: len(sure)])
    assert torch.equal(sure.scores, plain.scores)
    assert not torch.allclose(sure.boxes, plain.boxes, atol=0.5)
