"""Detections from decoded outputs, without torch, are those that core.postprocess makes of the dense outputs."""

import numpy as np
import pytest
import torch

from rtmdet.core.backend import Selection
from rtmdet.core.boxes import grid_priors
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.nms import NmsSettings
from rtmdet.core.postprocess import postprocess
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import DenseOutputs
from rtmdet.deploy.exported import select_detections

SIZE = (64, 96)


def random_outputs(classes: int, generator: torch.Generator) -> DenseOutputs:
    """Of one image: scores of all heights, boxes that overlap, reach over the border, or are turned inside out."""
    shapes = [(SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]
    logits = tuple(torch.randn(1, classes, *shape, generator=generator) * 3 for shape in shapes)
    distances = tuple(torch.rand(1, 4, *shape, generator=generator) * 40 - 4 for shape in shapes)
    return DenseOutputs(logits, distances)


def decoded(outputs: DenseOutputs) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (P, 4) and scores (P, K) as an exported file gives them."""
    points, _ = grid_priors([tuple(level.shape[2:]) for level in outputs.logits])
    distances = torch.cat([level[0].flatten(1).T for level in outputs.distances])
    scores = torch.cat([level[0].flatten(1).T for level in outputs.logits]).sigmoid()
    return torch.cat([points - distances[:, :2], points + distances[:, 2:]], 1).numpy(), scores.numpy()


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(score_threshold=0.5, nms=NmsSettings(0.5)),
        Selection(score_threshold=0.1, nms_pre=20, max_detections=7),
        Selection(score_threshold=0.2, nms=NmsSettings(0.6, box_voting=True)),
        Selection(score_threshold=1.0),
    ],
)
def test_the_same_detections(classes: int, selection: Selection) -> None:
    check_same(classes, selection)


@pytest.mark.parametrize("voting", [False, True])
def test_the_same_detections_with_thresholds_for_each_class(voting: bool) -> None:
    check_same(3, Selection(0.2, NmsSettings(0.6, voting), nms_pre=20, class_thresholds=(0.9, 0.2, 0.5)))


def check_same(classes: int, selection: Selection) -> None:
    place = Letterbox((60, 90), (0.5, 0.6))
    for seed in range(5):
        outputs = random_outputs(classes, torch.Generator().manual_seed(seed))
        boxes, scores = decoded(outputs)
        found = select_detections(boxes, scores, input_size=SIZE, letterbox=place, selection=selection)
        (expected,) = postprocess(outputs, selection, input_size=SIZE, letterboxes=[place])
        assert len(expected) > 3 or selection.score_threshold == 1
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        np.testing.assert_array_equal(found.labels, expected.labels)
