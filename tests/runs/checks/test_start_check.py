"""What is checked before the first step: each check passes on what is sound and fails on what is not."""

import json
from pathlib import Path

import pytest
import torch

from rtmdet.core.boxes import grid_priors, level_sizes
from rtmdet.core.structures import DenseOutputs, ImageMeta, Target
from rtmdet.data.coco.dataset import CocoDataset, index_coco
from rtmdet.models.head import PRIOR_LOGIT
from rtmdet.runs.checks.label_check import check_labels, encode, ground_truth_ap, without_prior
from rtmdet.runs.checks.start_check import LEAST_SPREAD, expected_loss, finds_nothing, output_spread
from rtmdet.training.criterion import Criterion

BOXES = torch.tensor([[10.0, 20, 60, 90], [12, 22, 58, 88], [100, 5, 180, 60], [40, 40, 41.5, 43]])
LABELS = torch.tensor([0, 1, 0, 1])


def index(category_ids: tuple[int, ...], size: tuple[int, int] = (150, 200)):
    """The index of one image with BOXES, as a file with these category ids says them."""
    entries = [
        {
            "id": number,
            "image_id": 7,
            "category_id": category_ids[label],
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
        }
        for number, ((left, top, right, bottom), label) in enumerate(
            zip(BOXES.tolist(), LABELS.tolist(), strict=True), 1
        )
    ]
    return index_coco(
        {
            "images": [{"id": 7, "file_name": "a.jpg", "height": size[0], "width": size[1]}],
            "annotations": entries,
            "categories": [{"id": number, "name": f"class {number}"} for number in category_ids],
        }
    )


def test_more_objects_than_a_small_input_has_priors_are_no_fault(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.png", "width": 640, "height": 320}
    boxes = [[64 * column, 32 * row, 20, 16] for row in range(10) for column in range(10)]
    objects = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": 320, "iscrowd": 0}
        for number, box in enumerate(boxes, 1)
    ]
    file = {"images": [image], "annotations": objects, "categories": [{"id": 1, "name": "dot"}]}
    (tmp_path / "a.json").write_text(json.dumps(file))
    (tmp_path / "a.png").touch()
    dataset = CocoDataset(tmp_path / "a.json", tmp_path, training=False)
    assert [check_labels(dataset, size) for size in ((320, 640), (64, 64), (32, 64))] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("category_ids", [(1, 2), (0, 1), (90, 17)])
@pytest.mark.parametrize("input_size", [(320, 320), (96, 64)])
def test_the_ground_truth_measured_against_itself_is_perfect(
    category_ids: tuple[int, ...], input_size: tuple[int, int]
) -> None:
    images = [(ImageMeta(7, "a.jpg", (150, 200)), Target(BOXES, LABELS))]
    assert ground_truth_ap(index(category_ids), category_ids, images, input_size) == pytest.approx(1)


def test_mixed_up_ids_and_shifted_boxes_are_found_out() -> None:
    meta = ImageMeta(7, "a.jpg", (150, 200))
    swapped = ground_truth_ap(index((1, 2)), (2, 1), [(meta, Target(BOXES, LABELS))], (320, 320))
    shifted = ground_truth_ap(index((1, 2)), (1, 2), [(meta, Target(BOXES + 30, LABELS))], (320, 320))
    assert max(swapped, shifted) < 0.5


def test_ground_truths_of_one_center_have_priors_of_their_own() -> None:
    boxes = torch.tensor([[0.0, 0, 64, 64]]).repeat(5, 1)
    outputs = encode(Target(boxes, torch.zeros(5, dtype=torch.int64)), (64, 64), 1)
    assert int((outputs.logits[0] > 0).sum()) == 5


def test_boxes_between_the_priors_are_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(500, 2, generator=generator) * 70 - 3
    boxes = torch.cat([corners, corners + torch.rand(500, 2, generator=generator) * 12], dim=1)
    points, _ = grid_priors(level_sizes((64, 64)))
    inside = (points[None] > boxes[:, None, :2]) & (points[None] < boxes[:, None, 2:])  # (N, P, 2)
    lost = int((~inside.all(2).any(1)).sum())
    assert 0 < lost < 500
    assert without_prior(boxes, (64, 64)) == lost


def test_expected_loss_is_that_of_a_new_class_branch() -> None:
    target = Target(torch.tensor([[4.0, 4, 50, 50]]), torch.tensor([1]))
    sizes = level_sizes((64, 64))
    distances = tuple(torch.full((1, 4, *size), 20.0) for size in sizes)
    fresh = DenseOutputs(tuple(torch.full((1, 3, *size), PRIOR_LOGIT) for size in sizes), distances)
    wild = DenseOutputs(tuple(torch.zeros(1, 3, *size) for size in sizes), distances)
    criterion = Criterion(3)
    loss = float(criterion(fresh, [target]).classification)
    assert expected_loss(criterion, wild, [target]) == pytest.approx(loss)
    assert float(criterion(wild, [target]).classification) > 4 * loss


def outputs_of(logit: float, distance: float, *, noise: float = 0.0, channel: float = 0.0) -> DenseOutputs:
    """Outputs for two images of 64 x 64 and 3 classes; `channel` differs between channels, `noise` between places."""
    generator = torch.Generator().manual_seed(0)
    logits, distances = [], []
    for stride, size in zip((8, 16, 32), level_sizes((64, 64)), strict=True):
        steps = channel * torch.arange(4.0).view(1, 4, 1, 1)
        logits.append(logit + steps[:, :3] + noise * torch.randn(2, 3, *size, generator=generator))
        distances.append((distance + steps + noise * torch.randn(2, 4, *size, generator=generator)) * stride)
    return DenseOutputs(tuple(logits), tuple(distances))


def test_outputs_that_are_the_same_everywhere_have_no_spread() -> None:
    """Each channel may have a bias of its own: that is no sign of life."""
    assert max(output_spread(outputs_of(PRIOR_LOGIT, 3, channel=2.0))) < LEAST_SPREAD / 100
    logits, distances = output_spread(outputs_of(PRIOR_LOGIT, 3, noise=0.05))
    assert logits == pytest.approx(0.05, rel=0.7)
    assert distances == pytest.approx(0.05, rel=0.7)


def test_a_low_loss_is_fine_only_where_boxes_overlap_the_objects() -> None:
    target = Target(torch.tensor([[4.0, 4, 60, 60]]), torch.tensor([1]))
    criterion = Criterion(3)

    def found(outputs: DenseOutputs, *targets: Target) -> bool:
        losses = criterion(outputs, targets)
        return finds_nothing(losses, expected_loss(criterion, outputs, targets))

    assert found(outputs_of(-12, 0.001), target, target), "no scores, no boxes"
    perfect = encode(target, (64, 64), 3)
    assert not found(perfect, target), "a detector of these objects"
    assert float(criterion(perfect, [target]).classification) < 0.1
    assert not found(outputs_of(PRIOR_LOGIT, 0.001), target, target), "class layers from scratch"
    nothing = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert not found(outputs_of(-12, 0.001), nothing, nothing), "there is nothing to find"
