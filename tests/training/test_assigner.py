"""Which prior learns which ground truth: the reference's assignments, the paper's formula written out, and edges.

Dimension legend: P priors, K classes, N ground truths, C candidates.
"""

import pytest
import torch
import torch.nn.functional as F
from golden import reference
from torch import Tensor
from torchvision.ops import box_iou

from rtmdet.core.boxes import grid_priors, level_sizes
from rtmdet.core.structures import Assignment, Target
from rtmdet.training import assigner
from rtmdet.training.assigner import assign, classification_cost

FILES = [path.stem for path in sorted(reference.HERE.glob("assign_*.npz"))]
NO_TARGET = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


class Scene:
    """Random predictions for an image of `side` x `side` pixels with `objects` ground truths, in float64."""

    def __init__(self, objects: int, classes: int, seed: int, side: int = 128) -> None:
        random = torch.Generator().manual_seed(seed)
        self.points, self.strides = grid_priors(level_sizes((side, side)), dtype=torch.float64)
        number = len(self.points)
        self.logits = torch.randn(number, classes, generator=random, dtype=torch.float64) * 2 - 2
        sides = torch.rand(number, 4, generator=random, dtype=torch.float64) * 5 * self.strides[:, None]
        self.boxes = torch.cat([self.points - sides[:, :2], self.points + sides[:, 2:]], dim=1)
        corner = torch.rand(objects, 2, generator=random, dtype=torch.float64) * (side - 28)
        size = torch.rand(objects, 2, generator=random, dtype=torch.float64) * 80 + 4
        labels = torch.randint(0, classes, (objects,), generator=random)
        self.target = Target(torch.cat([corner, corner + size], dim=1), labels)

    def assign(self, topk: int = 13) -> Assignment:
        return assign(self.logits, self.boxes, self.points, self.strides, self.target, topk=topk)


def dense_cost(scene: Scene) -> tuple[Tensor, Tensor]:
    """Cost and IoU (P, N) as the paper writes them, with a (P, N, K) tensor of soft labels."""
    target = scene.target
    iou = box_iou(scene.boxes, target.boxes)  # (P, N)
    soft = F.one_hot(target.labels, scene.logits.shape[1])[None] * iou[:, :, None]  # (P, N, K)
    logits = scene.logits[:, None].expand_as(soft)
    entropy = F.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    classification = (entropy * (soft - logits.sigmoid()).abs() ** 2).sum(-1)
    centers = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
    distance = torch.cdist(scene.points, centers) / scene.strides[:, None]
    return classification - 3 * torch.log(iou + 1e-7) + 10 ** (distance - 3), iou


def dense_assignment(scene: Scene, topk: int) -> list[int]:
    """The ground truth of every prior, -1 = background, by plain loops."""
    inside = (
        (scene.points[:, None] > scene.target.boxes[:, :2]) & (scene.points[:, None] < scene.target.boxes[:, 2:])
    ).all(-1)  # (P, N)
    valid = inside.any(1).nonzero().squeeze(1).tolist()
    cost, iou = dense_cost(scene)
    takers: dict[int, list[int]] = {}
    for n in range(len(scene.target.labels)):
        best = sorted((iou[p, n].item() for p in valid), reverse=True)[:topk]
        number = max(int(sum(best)), 1)
        for p in sorted(valid, key=lambda p: cost[p, n].item())[:number]:
            takers.setdefault(p, []).append(n)
    result = [-1] * len(scene.points)
    for p, those in takers.items():
        result[p] = those[0] if len(those) == 1 else int(cost[p].argmin())
    return result


@pytest.mark.parametrize("name", FILES)
def test_assignments_are_the_reference(name: str) -> None:
    golden = {key: torch.from_numpy(array) for key, array in reference.load(name).items()}
    points, strides = golden["priors"][:, :2], golden["priors"][:, 2]
    target = Target(golden["gt_bboxes"].reshape(-1, 4), golden["gt_labels"].reshape(-1).long())
    topk = int(golden["topk"])
    found = assign(golden["pred_logits"], golden["decoded_bboxes"], points, strides, target, topk=topk)
    assert torch.equal(found.gt_index, golden["assigned_gt_inds"].long() - 1)
    positive = found.gt_index >= 0
    torch.testing.assert_close(found.soft_target[positive], golden["max_overlaps"][positive], rtol=0, atol=1e-6)
    assert not found.soft_target[~positive].any()


@pytest.mark.parametrize("name", ["assign_normal", "assign_overlapping"])
def test_costs_are_the_reference(name: str) -> None:
    """The class cost is what is left of the reference's cost without IoU and center."""
    golden = {key: torch.from_numpy(array).double() for key, array in reference.load(name).items() if array.ndim}
    valid, boxes = golden["valid_mask"].bool(), golden["gt_bboxes"]
    iou = golden["ious"]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = torch.cdist(golden["priors"][valid, :2], centers) / golden["priors"][valid, 2:3]
    expected = golden["cost"] + 3 * torch.log(iou + 1e-7) - 10 ** (distance - 3)
    found = classification_cost(golden["pred_logits"][valid], iou.T, golden["gt_labels"].long()).T
    near = distance < 3  # farther out the reference's float32 loses the class cost's digits
    assert near.sum() > 50
    torch.testing.assert_close(found[near], expected[near], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("objects", "classes", "topk"), [(1, 1, 13), (3, 2, 13), (8, 80, 13), (20, 5, 4), (12, 3, 1)]
)
@pytest.mark.parametrize("seed", range(3))
def test_the_lean_formula_is_the_dense_one(objects: int, classes: int, topk: int, seed: int) -> None:
    scene = Scene(objects, classes, seed)
    found = scene.assign(topk)
    assert found.gt_index.tolist() == dense_assignment(scene, topk)
    _, iou = dense_cost(scene)
    positive = (found.gt_index >= 0).nonzero().squeeze(1)
    assert len(positive) >= 1
    expected = iou[positive, found.gt_index[positive]]
    torch.testing.assert_close(found.soft_target[positive], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("objects", [10, 50])
def test_the_lean_formula_is_the_dense_one_at_full_size(objects: int) -> None:
    """8400 priors and 80 classes."""
    scene = Scene(objects, 80, seed=objects, side=640)
    assert len(scene.points) == 8400
    found = scene.assign()
    expected = torch.tensor(dense_assignment(scene, 13))
    assert torch.equal(found.gt_index, expected)
    assert (found.gt_index >= 0).sum() > objects


@pytest.mark.parametrize("group", [1, 3, 7, 20])
def test_ground_truths_in_groups_are_the_same(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(20, 5, seed=6)
    whole = scene.assign()
    monkeypatch.setattr(assigner, "GROUP", group)
    found = scene.assign()
    assert torch.equal(found.gt_index, whole.gt_index)
    assert torch.equal(found.soft_target, whole.soft_target)


def test_class_cost_by_hand() -> None:
    """Two classes at logit 0, ground truth of class 1 at IoU 1: ln 2 * 0.25 from each."""
    cost = classification_cost(torch.zeros(1, 2), torch.ones(1, 1), torch.tensor([1]))
    torch.testing.assert_close(cost, torch.full((1, 1), 2 * 0.25 * 0.6931472))
    sure = classification_cost(torch.tensor([[-20.0, 20.0]]), torch.ones(2, 1), torch.tensor([1, 0]))
    assert sure[0, 0] < 1e-6
    torch.testing.assert_close(sure[1, 0], torch.tensor(40.0))


def test_no_ground_truth() -> None:
    scene = Scene(1, 2, seed=0)
    found = assign(scene.logits, scene.boxes, scene.points, scene.strides, NO_TARGET)
    assert (found.gt_index == -1).all()
    assert not found.soft_target.any()
    assert found.gt_index.dtype == torch.int64
    assert found.soft_target.dtype == torch.float64


def test_no_prior_inside() -> None:
    """Between the points of stride 8; a point on the border is not inside."""
    scene = Scene(1, 2, seed=0)
    sides = [[8.0, 1, 15, 15], [1, 8, 15, 15], [1, 1, 8, 15], [1, 1, 15, 8]]
    boxes = torch.tensor([[1.0, 1, 7, 7], [8, 8, 16, 16], *sides], dtype=torch.float64)
    target = Target(boxes, torch.tensor([0, 1, 0, 1, 0, 1]))
    found = assign(scene.logits, scene.boxes, scene.points, scene.strides, target)
    assert (found.gt_index == -1).all()
    assert not found.soft_target.any()


def test_a_ground_truth_without_a_prior_inside_takes_one_from_its_neighbor() -> None:
    """The reference's habit: candidates are inside any ground truth, at least one goes to each."""
    points, strides = torch.tensor([[8.0, 8.0], [16.0, 8.0], [8.0, 16.0], [16.0, 16.0]]), torch.full((4,), 8.0)
    target = Target(torch.tensor([[4.0, 4.0, 20.0, 20.0], [17.0, 17.0, 19.0, 19.0]]), torch.tensor([0, 0]))
    boxes = torch.cat([points - 6, points + 6], dim=1)
    boxes[3] = torch.tensor([17.0, 17.0, 19.0, 19.0])
    found = assign(torch.zeros(4, 1), boxes, points, strides, target)
    assert found.gt_index[3] == 1
    assert found.soft_target[3] == 1


def test_a_prior_that_two_want_goes_to_the_cheaper() -> None:
    """One prior inside two equal boxes; its prediction is of the second one's class."""
    points, strides = torch.tensor([[16.0, 16.0], [64.0, 64.0]]), torch.full((2,), 8.0)
    boxes = torch.tensor([[8.0, 8.0, 24.0, 24.0]]).repeat(2, 1)
    target = Target(torch.tensor([[8.0, 8.0, 24.0, 24.0]]).repeat(2, 1), torch.tensor([0, 1]))
    for winner, logits in enumerate(([[3.0, -3.0]] * 2, [[-3.0, 3.0]] * 2)):
        found = assign(torch.tensor(logits), boxes, points, strides, target)
        assert found.gt_index.tolist() == [winner, -1]
        assert found.soft_target.tolist() == [1, 0]


def test_good_boxes_win_more_priors() -> None:
    """Five perfect boxes inside: IoUs sum up to 5, so five are positive; poor ones give a single one."""
    points, strides = grid_priors([(1, 5)], strides=(8,))
    points = points + 8
    gt = torch.tensor([[1.0, 1.0, 47.0, 15.0]])
    target = Target(gt, torch.tensor([0]))
    assert (assign(torch.zeros(5, 1), gt.repeat(5, 1), points, strides, target).gt_index == 0).all()
    poor = torch.cat([points - 0.5, points + 0.5], dim=1)
    found = assign(torch.zeros(5, 1), poor, points, strides, target)
    assert (found.gt_index == 0).sum() == 1
    assert found.gt_index[2] == 0, "the one nearest to the center"
    most = assign(torch.zeros(5, 1), gt.repeat(5, 1), points, strides, target, topk=2)
    assert (most.gt_index == 0).sum() == 2


def test_inputs_stay_as_they_are_and_no_gradient_flows() -> None:
    scene = Scene(5, 3, seed=4)
    tensors = [scene.logits, scene.boxes, scene.points, scene.strides, scene.target.boxes, scene.target.labels]
    before = [tensor.clone() for tensor in tensors]
    scene.logits.requires_grad_()
    scene.boxes.requires_grad_()
    assert not scene.assign().soft_target.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


def test_the_order_of_the_ground_truths_does_not_matter() -> None:
    scene = Scene(20, 3, seed=5)
    found = scene.assign()
    order = torch.arange(20).roll(7).flip(0)
    scene.target = Target(scene.target.boxes[order], scene.target.labels[order])
    other = scene.assign()
    positive = other.gt_index >= 0
    assert torch.equal(positive, found.gt_index >= 0)
    assert torch.equal(order[other.gt_index[positive]], found.gt_index[positive])
