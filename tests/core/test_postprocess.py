"""From dense outputs to detections: the reference's candidates, and every rule in a case made by hand.

A hand-made output is silent (logit -20) but for the cells that a test fills; its input is 64 x 64 pixels, so
the levels have 8 x 8, 4 x 4 and 2 x 2 cells. Dimension legend: B batch, K classes, D detections.
"""

import json
import math
from dataclasses import replace

import pytest
import torch
from golden import reference

from rtmdet.core.arrays import clip_boxes
from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.nms import NmsSettings
from rtmdet.core.postprocess import _select, postprocess
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import DenseOutputs

SIZE = (64, 64)


def silent(classes: int = 2, batch: int = 1) -> DenseOutputs:
    """Outputs without any detection; every distance is half a stride."""
    cells = [64 // stride for stride in STRIDES]
    return DenseOutputs(
        tuple(torch.full((batch, classes, n, n), -20.0) for n in cells),
        tuple(torch.full((batch, 4, n, n), stride / 2) for n, stride in zip(cells, STRIDES, strict=True)),
    )


def scaled(x: float, y: float) -> Letterbox:
    """An image of which the input shows so many pixels per original pixel."""
    return Letterbox((0, 0), (x, y))


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def put(
    outputs: DenseOutputs,
    score: float,
    *,
    label: int = 0,
    level: int = 0,
    cell: tuple[int, int] = (2, 3),
    box: tuple[float, float, float, float] | None = None,
    image: int = 0,
) -> None:
    """Let a cell (row, column) of a level see an object: at the given xyxy, or at its default box."""
    row, column = cell
    outputs.logits[level][image, label, row, column] = logit(score)
    if box is not None:
        x, y = column * STRIDES[level], row * STRIDES[level]
        distances = [x - box[0], y - box[1], box[2] - x, box[3] - y]
        outputs.distances[level][image, :, row, column] = torch.tensor(distances)


def detect(
    outputs: DenseOutputs,
    *,
    score_threshold: float = 0.1,
    iou_threshold: float = 0.65,
    nms_pre: int = 1000,
    max_detections: int = 300,
) -> Detections:
    """The detections of the only image, in input pixels."""
    selection = Selection(score_threshold, NmsSettings(iou_threshold), nms_pre, max_detections)
    (found,) = postprocess(outputs, selection, input_size=SIZE)
    return found


@pytest.mark.parametrize("name", ["predict_nosplit_4c", "predict_pre200_10c", "predict_split_80c"])
def test_candidates_before_suppression_are_the_reference(name: str) -> None:
    golden = reference.load(name)
    settings, metas = json.loads(str(golden["test_cfg"])), json.loads(str(golden["metas"]))
    for image, meta in enumerate(metas):
        levels = []
        for level, stride in enumerate(STRIDES):
            logits, distances = (torch.from_numpy(golden[f"{key}{level}"][image]) for key in ("cls", "reg"))
            levels.append(_select(logits, distances, stride, [settings["score_thr"]], settings["nms_pre"]))
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*levels, strict=True))
        boxes = clip_boxes(boxes, meta["img_shape"])
        real = (boxes[:, 2:] > boxes[:, :2]).all(1)
        assert int(real.sum()) == golden[f"nonms_img{image}_n"]
        sums = [boxes[real].double().sum().item(), scores[real].double().sum().item(), labels[real].sum().item()]
        expected = [float(golden[f"nonms_img{image}_{part}_sum"]) for part in ("bboxes", "scores", "labels")]
        assert sums == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", ["predict_nosplit_4c", "predict_pre200_10c"])
def test_detections_are_the_reference(name: str) -> None:
    """Scores one by one: the original shifts boxes by class before the suppression, so a few may differ."""
    golden = reference.load(name)
    settings, metas = json.loads(str(golden["test_cfg"])), json.loads(str(golden["metas"]))
    maps = [tuple(torch.from_numpy(golden[f"{key}{level}"]) for level in range(3)) for key in ("cls", "reg")]
    overlap = NmsSettings(settings["nms"]["iou_threshold"])
    selection = Selection(settings["score_thr"], overlap, settings["nms_pre"], settings["max_per_img"])
    found = postprocess(
        DenseOutputs(*maps),
        selection,
        input_size=tuple(metas[0]["img_shape"]),
        letterboxes=[scaled(*meta["scale_factor"]) for meta in metas],
    )
    for image, detections in enumerate(found):
        expected = torch.from_numpy(golden[f"pred_img{image}_scores"])
        assert len(detections) == len(expected)
        assert ((detections.scores - expected).abs() < 1e-5).float().mean() >= 0.99
        boxes = torch.from_numpy(golden[f"pred_img{image}_bboxes"])
        assert ((detections.boxes - boxes).abs().amax(1) < 0.05).float().mean() >= 0.97


@pytest.mark.parametrize(("level", "cell"), [(0, (2, 3)), (1, (1, 2)), (2, (1, 0))])
def test_a_cell_becomes_a_box_around_its_corner(level: int, cell: tuple[int, int]) -> None:
    outputs, stride = silent(), STRIDES[level]
    put(outputs, 0.8, label=1, level=level, cell=cell)
    found = detect(outputs)
    x, y, half = cell[1] * stride, cell[0] * stride, stride / 2
    assert found.boxes.tolist() == [[max(x - half, 0), max(y - half, 0), x + half, y + half]]
    assert found.labels.tolist() == [1]
    assert found.scores.item() == pytest.approx(0.8)
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (torch.float32, torch.float32, torch.int64)


def test_the_score_must_be_above_the_threshold() -> None:
    outputs = silent()
    outputs.logits[0][0, 0, 0, 4] = 0.0  # a score of exactly 0.5
    assert len(detect(outputs, score_threshold=0.5)) == 0
    assert len(detect(outputs, score_threshold=0.499)) == 1
    outputs.logits[0][0, 0, 0, 4] = 1e-6
    assert len(detect(outputs, score_threshold=0.5)) == 1


@pytest.mark.parametrize(("threshold", "number"), [(0.0, 2 * (64 + 16 + 4)), (1.0, 0)])
def test_thresholds_at_the_ends_take_all_or_nothing(threshold: float, number: int) -> None:
    outputs = silent()
    assert len(detect(outputs, score_threshold=threshold, iou_threshold=1.0)) == number


def test_one_prior_can_be_two_objects() -> None:
    outputs = silent()
    put(outputs, 0.6, label=0)
    put(outputs, 0.9, label=1)
    found = detect(outputs)
    assert found.labels.tolist() == [1, 0]
    assert torch.equal(found.boxes[0], found.boxes[1])


def test_suppression_is_within_a_class() -> None:
    outputs = silent()
    put(outputs, 0.9, label=0, cell=(2, 2), box=(10, 10, 30, 30))
    put(outputs, 0.8, label=0, cell=(2, 3), box=(11, 10, 31, 30))  # IoU 0.905 with the first
    put(outputs, 0.7, label=1, cell=(3, 2), box=(11, 10, 31, 30))
    put(outputs, 0.6, label=0, cell=(3, 3), box=(20, 10, 40, 30))  # IoU 1/3 with the first
    found = detect(outputs)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert found.labels.tolist() == [0, 1, 0]


def test_suppression_needs_more_than_the_threshold() -> None:
    outputs = silent()
    put(outputs, 0.9, cell=(2, 2), box=(8, 8, 24, 24))
    put(outputs, 0.8, cell=(2, 3), box=(8, 8, 16, 24))  # half of the first: IoU 0.5
    assert len(detect(outputs, iou_threshold=0.5)) == 2
    assert len(detect(outputs, iou_threshold=0.49)) == 1


def test_suppression_does_not_mix_classes_of_far_boxes() -> None:
    """With boxes shifted by class * (largest coordinate + 1) neighbors of other classes must not touch."""
    outputs = silent(classes=80)
    for label in range(80):
        put(outputs, 0.5 + label / 200, label=label, cell=(0, 0), box=(0, 0, 64, 64))
    assert sorted(detect(outputs, iou_threshold=0.01).labels.tolist()) == list(range(80))


def test_boxes_are_clipped_to_the_input_and_then_rescaled() -> None:
    outputs = silent()
    put(outputs, 0.9, box=(-10, 16, 100, 32))
    (found,) = postprocess(outputs, Selection(0.1), input_size=(48, 56), letterboxes=[scaled(2.0, 0.5)])
    assert found.boxes.tolist() == [[0, 32, 28, 64]]  # 56 / 2 and 32 / 0.5: no clipping after the rescaling


def test_clipping_comes_before_the_suppression() -> None:
    """Beyond the border the two differ, within it they are the same."""
    outputs = silent()
    put(outputs, 0.9, cell=(2, 2), box=(0, 0, 64, 64))
    put(outputs, 0.8, cell=(2, 3), box=(-64, -64, 128, 128))
    assert len(detect(outputs)) == 1


def test_boxes_without_area_are_dropped() -> None:
    outputs = silent()
    put(outputs, 0.9, cell=(1, 1), box=(20, 20, 20, 30))  # no width
    put(outputs, 0.9, cell=(2, 2), box=(20, 20, 30, 20))  # no height
    put(outputs, 0.9, cell=(3, 3), box=(30, 30, 20, 20))  # inverted on both axes
    put(outputs, 0.9, cell=(4, 4), box=(70, 20, 90, 30))  # outside of the input
    put(outputs, 0.2, cell=(5, 5), box=(40, 40, 40.5, 40.5))
    found = detect(outputs)
    assert found.boxes.tolist() == [[40, 40, 40.5, 40.5]]


def test_the_best_are_kept_and_sorted() -> None:
    outputs = silent()
    scores = [0.3, 0.9, 0.5, 0.7, 0.4]
    for i, score in enumerate(scores):
        put(outputs, score, label=i % 2, level=i % 2, cell=(0, i // 2 + i % 2))
    found = detect(outputs, max_detections=3)
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert found.labels.tolist() == [1, 1, 0]


def test_scores_that_saturate_keep_the_order_of_their_cells() -> None:
    """Logits of 20 and 30 are both a score of 1 in float32: as in the reference, the earlier cell wins."""
    outputs = silent()
    put(outputs, 0.9, cell=(2, 2), box=(10, 10, 30, 30))
    put(outputs, 0.9, cell=(2, 3), box=(11, 10, 31, 30))
    outputs.logits[0][0, 0, 2, 2:4] = torch.tensor([20.0, 30.0])
    assert detect(outputs).boxes.tolist() == [[10, 10, 30, 30]]


def test_the_limit_of_candidates_is_per_level() -> None:
    outputs = silent()
    for column, score in enumerate([0.2, 0.5, 0.4, 0.3]):
        put(outputs, score, cell=(0, 2 * column))
    put(outputs, 0.15, level=1, cell=(2, 1))
    put(outputs, 0.12, level=2, cell=(1, 1))
    assert detect(outputs, nms_pre=2).scores.tolist() == pytest.approx([0.5, 0.4, 0.15, 0.12])
    assert len(detect(outputs, nms_pre=4)) == 6


def test_the_limit_counts_pairs_of_prior_and_class() -> None:
    outputs = silent(classes=3)
    for label, score in enumerate([0.3, 0.5, 0.4]):
        put(outputs, score, label=label)
    assert detect(outputs, nms_pre=2).labels.tolist() == [1, 2]


def test_many_wanted_boxes_have_as_many_candidates_as_in_the_original() -> None:
    """In one level 1,600 objects, each by two priors."""
    outputs = DenseOutputs(
        [torch.full((1, 1, 80 // (1 << level), 80 // (1 << level)), -20.0) for level in range(3)],
        [torch.full((1, 4, 80 // (1 << level), 80 // (1 << level)), 4.0) for level in range(3)],
    )
    outputs.logits[0][0, 0, :, ::2] = logit(0.9)
    outputs.logits[0][0, 0, :, 1::2] = logit(0.8)
    outputs.distances[0][0, 0, :, 1::2], outputs.distances[0][0, 2, :, 1::2] = 12.0, -4.0  # on the neighbor's box
    for most, found in ((100, 100), (2000, 3200)):
        selection = Selection(0.3, NmsSettings(1.0)).for_most(most)
        (kept,) = postprocess(outputs, replace(selection, nms=NmsSettings(1.0)), input_size=(640, 640))
        assert len(kept) == min(found, most)


def test_nothing_found() -> None:
    for found in postprocess(silent(batch=2), Selection(), input_size=SIZE, letterboxes=[scaled(1.0, 1.0)] * 2):
        assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))
        assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (
            torch.float32,
            torch.float32,
            torch.int64,
        )


def test_batch_gives_what_single_images_give() -> None:
    torch.manual_seed(0)
    logits = tuple(torch.randn(2, 3, n, n) for n in (8, 4, 2))
    distances = tuple(torch.rand(2, 4, n, n) * 30 for n in (8, 4, 2))
    places = [scaled(0.5, 0.6), scaled(2.0, 1.0)]
    before = [level.clone() for level in (*logits, *distances)]
    both = postprocess(DenseOutputs(logits, distances), Selection(0.3), input_size=SIZE, letterboxes=places)
    for i, found in enumerate(both):
        outputs = DenseOutputs(tuple(v[i : i + 1] for v in logits), tuple(v[i : i + 1] for v in distances))
        (single,) = postprocess(outputs, Selection(0.3), input_size=SIZE, letterboxes=[places[i]])
        assert len(found) > 10
        assert torch.equal(found.boxes, single.boxes)
        assert torch.equal(found.scores, single.scores)
        assert torch.equal(found.labels, single.labels)
    assert all(torch.equal(a, b) for a, b in zip(before, (*logits, *distances), strict=True))


def test_outputs_of_half_precision_are_decoded_in_float32() -> None:
    outputs = silent()
    put(outputs, 0.75, cell=(7, 7), box=(50, 50, 63, 63))
    half = DenseOutputs(*(tuple(level.half() for level in levels) for levels in outputs))
    found = detect(half)
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    assert found.boxes.tolist() == [[50, 50, 63, 63]]


def test_outputs_that_learn_give_detections_without_gradient() -> None:
    outputs = silent()
    put(outputs, 0.9)
    outputs = DenseOutputs(tuple(level.requires_grad_() for level in outputs.logits), outputs.distances)
    assert not detect(outputs).scores.requires_grad
