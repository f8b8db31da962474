"""From dense outputs to losses: the reference's targets and losses level by level, and the batches that break others.

Dimension legend: B batch, K classes, L levels, P priors.
"""

import pytest
import torch
from golden import reference
from torch import Tensor

from rtmdet.core.boxes import decode_distances, grid_priors, level_sizes, valid_priors
from rtmdet.core.errors import InputError
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import DenseOutputs, Losses, Target
from rtmdet.training.assigner import assign
from rtmdet.training.criterion import Criterion, DenseTargets, flatten_levels

FILES = ["loss_4c_b3", "loss_80c_b2_one_empty", "loss_all_empty"]
EMPTY = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
CLASSES = 3
SIZE = (64, 96)


class Golden:
    """One loss_*.npz: outputs that learn, targets, and the shown part of each input."""

    def __init__(self, name: str) -> None:
        self.arrays = {key: torch.from_numpy(array) for key, array in reference.load(name).items()}
        maps = [tuple(self.arrays[f"{key}{i}"].clone().requires_grad_() for i in range(3)) for key in ("cls", "reg")]
        self.outputs = DenseOutputs(*maps)
        self.targets = [
            Target(self.arrays[f"gt_bboxes{b}"].reshape(-1, 4), self.arrays[f"gt_labels{b}"].reshape(-1))
            for b in range(len(maps[0][0]))
        ]
        self.valid_sizes = [(int(height), int(width)) for height, width in self.arrays["pad_shapes"]]
        self.criterion = Criterion(int(self.arrays["num_classes"]))


def random_outputs(batch: int, seed: int = 0) -> DenseOutputs:
    """Outputs for an input of SIZE, boxes of about three strides."""
    random = torch.Generator().manual_seed(seed)
    sizes = level_sizes(SIZE)
    return DenseOutputs(
        tuple(torch.randn(batch, CLASSES, *size, generator=random) - 3 for size in sizes),
        tuple(torch.rand(batch, 4, *size, generator=random) * 3 * s for size, s in zip(sizes, STRIDES, strict=True)),
    )


def random_targets(*numbers: int, seed: int = 0) -> list[Target]:
    """Targets with the given numbers of objects."""
    random = torch.Generator().manual_seed(seed)
    targets = []
    for number in numbers:
        corner = torch.rand(number, 2, generator=random) * 40
        size = torch.rand(number, 2, generator=random) * 30 + 12
        labels = torch.randint(0, CLASSES, (number,), generator=random)
        targets.append(Target(torch.cat([corner, corner + size], dim=1), labels))
    return targets


def compute(outputs: DenseOutputs, targets: list[Target], valid_sizes: list[tuple[int, int]] | None = None) -> Losses:
    return Criterion(CLASSES)(outputs, targets, valid_sizes)


def dense_targets(
    criterion: Criterion, outputs: DenseOutputs, targets: list[Target], valid_sizes: list[tuple[int, int]] | None
) -> DenseTargets:
    """What the criterion wants of every prior."""
    logits, distances = flatten_levels(outputs.logits), flatten_levels(outputs.distances)
    sizes = [(level.shape[2], level.shape[3]) for level in outputs.logits]
    points, strides = grid_priors(sizes)
    boxes = decode_distances(points, distances)
    return criterion.build_targets(logits, boxes, points, strides, sizes, targets, valid_sizes)


def levels_of(per_prior: Tensor, outputs: DenseOutputs) -> tuple[Tensor, ...]:
    """(B, P, ...) -> L x (B, H * W, ...)."""
    return per_prior.split([level.shape[2] * level.shape[3] for level in outputs.logits], dim=1)


@pytest.mark.parametrize("name", FILES)
def test_targets_of_every_prior_are_the_reference(name: str) -> None:
    golden = Golden(name)
    dense = dense_targets(golden.criterion, golden.outputs, golden.targets, golden.valid_sizes)
    for i, classes in enumerate(levels_of(dense.classes, golden.outputs)):
        assert torch.equal(classes, golden.arrays[f"labels{i}"].long())
    for i, quality in enumerate(levels_of(dense.quality, golden.outputs)):
        torch.testing.assert_close(quality, golden.arrays[f"assign_metrics{i}"], rtol=0, atol=1e-6)
    for i, valid in enumerate(levels_of(dense.valid, golden.outputs)):
        assert valid.sum() == golden.arrays[f"label_weights_sum{i}"]
    assert max(dense.quality.sum().item(), 1) == pytest.approx(golden.arrays["avg_factor"].item(), rel=1e-6)


@pytest.mark.parametrize("name", FILES)
def test_losses_of_every_level_are_the_reference(name: str) -> None:
    golden = Golden(name)
    losses = golden.criterion(golden.outputs, golden.targets, golden.valid_sizes)
    for found, key in ((losses.classification_per_level, "loss_cls"), (losses.box_per_level, "loss_bbox")):
        torch.testing.assert_close(found.double(), golden.arrays[key], rtol=1e-5, atol=1e-7)
    expected = golden.arrays["loss_cls"].sum() + golden.arrays["loss_bbox"].sum()
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.positives == sum(int((golden.arrays[f"assign_metrics{i}"] > 0).sum()) for i in range(3))


@pytest.mark.parametrize("name", FILES)
def test_gradients_are_the_reference(name: str) -> None:
    golden = Golden(name)
    golden.criterion(golden.outputs, golden.targets, golden.valid_sizes).total.backward()
    for key, maps in (("cls", golden.outputs.logits), ("reg", golden.outputs.distances)):
        for i, level in enumerate(maps):
            assert level.grad is not None
            sample = level.grad.flatten()[:: int(golden.arrays[f"{key}{i}_grad_step"])]
            expected = golden.arrays[f"{key}{i}_grad"]
            assert (sample - expected).abs().max() <= 1e-4 * expected.abs().max()
            norm = level.grad.double().norm().item()
            assert norm == pytest.approx(golden.arrays[f"{key}{i}_gradnorm"].item(), rel=1e-4)


def test_the_levels_sum_up_to_the_losses() -> None:
    losses = compute(random_outputs(2), random_targets(3, 2))
    torch.testing.assert_close(losses.classification_per_level.sum(), losses.classification)
    torch.testing.assert_close(losses.box_per_level.sum(), losses.box)
    assert losses.total == losses.classification + losses.box
    assert not losses.box_per_level.requires_grad
    assert losses.positives >= 5


def test_all_images_without_objects() -> None:
    outputs = random_outputs(2)
    for level in (*outputs.logits, *outputs.distances):
        level.requires_grad_()
    losses = compute(outputs, [EMPTY, EMPTY])
    assert losses.positives == 0
    assert losses.box.item() == 0
    assert losses.classification > 0
    losses.total.backward()
    assert all(level.grad is not None and level.grad.any() for level in outputs.logits)
    assert all(level.grad is not None and not level.grad.any() for level in outputs.distances), "DDP needs a gradient"


def test_an_image_without_objects_adds_only_background() -> None:
    """The normalizer is the batch's: an empty image changes neither it nor the box loss."""
    outputs, (target,) = random_outputs(2), random_targets(4)
    first = DenseOutputs(*(tuple(level[:1] for level in levels) for levels in outputs))
    alone, mixed = compute(first, [target]), compute(outputs, [target, EMPTY])
    torch.testing.assert_close(mixed.box, alone.box)
    assert mixed.positives == alone.positives
    assert mixed.classification > alone.classification


def test_batch_order_does_not_matter() -> None:
    outputs, targets = random_outputs(3), random_targets(3, 0, 5)
    order = [2, 0, 1]
    shuffled = DenseOutputs(*(tuple(level[order] for level in levels) for levels in outputs))
    a, b = compute(outputs, targets), compute(shuffled, [targets[i] for i in order])
    torch.testing.assert_close(a.classification, b.classification)
    torch.testing.assert_close(a.box_per_level, b.box_per_level)
    assert a.positives == b.positives


def test_losses_of_a_batch_are_the_mean_of_its_images_weighted_by_quality() -> None:
    outputs, targets = random_outputs(2), random_targets(4, 6)
    qualities = dense_targets(Criterion(CLASSES), outputs, targets, None).quality.sum(1)
    singles = [
        compute(DenseOutputs(*(tuple(level[b : b + 1] for level in maps) for maps in outputs)), [targets[b]])
        for b in range(2)
    ]
    assert (qualities > 1).all()
    box = sum(single.box * quality for single, quality in zip(singles, qualities, strict=True)) / qualities.sum()
    torch.testing.assert_close(compute(outputs, targets).box, box)


def test_positives_learn_their_own_class_only() -> None:
    """A perfect prediction costs nothing: score 1 in the label's column, the box equal to the ground truth."""
    target = Target(torch.tensor([[4.0, 4.0, 60.0, 60.0]]), torch.tensor([1]))
    outputs = random_outputs(1)
    points, _ = grid_priors(level_sizes(SIZE))
    boxes = target.boxes.expand(len(points), 4)
    distances = torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], dim=1)  # (P, 4)
    logits = torch.full((len(points), CLASSES), -20.0)
    dense = dense_targets(Criterion(CLASSES), from_flat(logits, distances, outputs), [target], None)
    positive = dense.classes[0] == 1
    assert positive.sum() == 13
    logits[positive, 1] = 20.0
    losses = compute(from_flat(logits, distances, outputs), [target])
    assert losses.total.item() < 1e-5
    logits[positive] = logits[positive].roll(1, 1)  # now another class is sure
    assert compute(from_flat(logits, distances, outputs), [target]).classification > 30


def from_flat(logits: Tensor, distances: Tensor, like: DenseOutputs) -> DenseOutputs:
    """(P, K) and (P, 4) as the levels of a batch of one."""
    numbers = [level.shape[2] * level.shape[3] for level in like.logits]
    maps = [
        tuple(
            part.T.reshape(1, -1, *level.shape[2:])
            for part, level in zip(flat.split(numbers), like.logits, strict=True)
        )
        for flat in (logits, distances)
    ]
    return DenseOutputs(*maps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_boxes_of_a_whole_image_in_half_precision(dtype: torch.dtype) -> None:
    """640 x 640 = 409600 is beyond fp16's 65504: areas in fp16 give NaN."""
    sizes = level_sizes((640, 640))
    logits = tuple(torch.full((1, CLASSES, *size), -2.0, dtype=dtype) for size in sizes)
    distances = tuple(torch.full((1, 4, *size), 640.0, dtype=dtype) for size in sizes)
    target = Target(torch.tensor([[0.0, 0.0, 640.0, 640.0]]), torch.tensor([2]))
    half = compute(DenseOutputs(logits, distances), [target])
    wide = DenseOutputs(tuple(v.float() for v in logits), tuple(v.float() for v in distances))
    single = compute(wide, [target])
    assert half.total.dtype == torch.float32
    assert half.total.isfinite()
    assert half.positives > 0
    torch.testing.assert_close(half.total, single.total)
    torch.testing.assert_close(half.box_per_level, single.box_per_level)


def test_double_stays_double() -> None:
    outputs = DenseOutputs(*(tuple(level.double() for level in levels) for levels in random_outputs(2)))
    losses, single = compute(outputs, random_targets(3, 2)), compute(random_outputs(2), random_targets(3, 2))
    assert losses.total.dtype == torch.float64
    assert losses.total.item() == pytest.approx(single.total.item(), rel=1e-5)


def test_cells_that_show_padding_do_not_count() -> None:
    """Loud nonsense beyond the shown part changes nothing; without `valid_sizes` it does."""
    outputs, targets = random_outputs(2), random_targets(3, 2)
    valid_sizes = [(64, 64), (64, 96)]
    loud = DenseOutputs(tuple(v.clone() for v in outputs.logits), outputs.distances)
    for level, stride in zip(loud.logits, STRIDES, strict=True):
        level[0, :, :, 64 // stride :] = 9
    quiet_losses, loud_losses = compute(outputs, targets, valid_sizes), compute(loud, targets, valid_sizes)
    assert torch.equal(quiet_losses.classification, loud_losses.classification)
    assert torch.equal(quiet_losses.box, loud_losses.box)
    assert compute(loud, targets).classification > 2 * compute(outputs, targets).classification


def test_objects_in_the_padding_are_nobodys() -> None:
    outputs = random_outputs(1)
    target = Target(torch.tensor([[70.0, 10.0, 94.0, 50.0]]), torch.tensor([0]))
    assert compute(outputs, [target]).positives > 0
    assert compute(outputs, [target], [(64, 64)]).positives == 0


@pytest.mark.parametrize("seed", range(6))
def test_masked_cells_are_no_priors_at_all(seed: int) -> None:
    """The assigner sees a shorter list, every part of it cut alike; its answers go back to their places."""
    outputs, (target,), valid_size = random_outputs(1, seed), random_targets(5, seed=seed), (40, 72)
    dense = dense_targets(Criterion(CLASSES), outputs, [target], [valid_size])
    sizes = level_sizes(SIZE)
    use = valid_priors(sizes, valid_size)
    points, strides = (part[use] for part in grid_priors(sizes))
    logits, distances = flatten_levels(outputs.logits)[0, use], flatten_levels(outputs.distances)[0, use]
    found = assign(logits, decode_distances(points, distances), points, strides, target)
    positive = found.gt_index >= 0
    assert positive.sum() >= 3
    assert torch.equal(dense.valid[0], use)
    assert torch.equal(dense.classes[0, use] < CLASSES, positive)
    assert torch.equal(dense.classes[0, use][positive], target.labels[found.gt_index[positive]])
    assert torch.equal(dense.boxes[0, use][positive], target.boxes[found.gt_index[positive]])
    assert torch.equal(dense.quality[0, use], found.soft_target)
    assert (dense.classes[0, ~use] == CLASSES).all()


def test_inputs_stay_as_they_are() -> None:
    outputs, targets = random_outputs(2), random_targets(3, 2)
    tensors = [*outputs.logits, *outputs.distances, *(target.boxes for target in targets)]
    before = [tensor.clone() for tensor in tensors]
    compute(outputs, targets, [SIZE, (40, 40)])
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


def test_topk_limits_the_positives() -> None:
    outputs, targets = random_outputs(2), random_targets(3, 2)
    assert Criterion(CLASSES, topk=1)(outputs, targets).positives == 5
    assert Criterion(CLASSES)(outputs, targets).positives > 5


def test_levels_are_flattened_row_by_row() -> None:
    levels = torch.arange(12.0).view(1, 2, 2, 3), torch.tensor([[[[20.0]], [[21.0]]]])
    flat = flatten_levels(levels)
    assert flat[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 20]
    assert flat[0, :, 1].tolist() == [6, 7, 8, 9, 10, 11, 21]
    assert flatten_levels([level.half() for level in levels]).dtype == torch.float32


def test_a_background_cell_that_overflows_leaves_the_losses_alone() -> None:
    outputs, targets = random_outputs(1), random_targets(1)
    expected = compute(outputs, targets)
    background = dense_targets(Criterion(CLASSES), outputs, targets, None).classes[0] == CLASSES
    cell = int(background.nonzero()[0])  # in the first level
    outputs.distances[0].flatten(2)[0, :, cell] = torch.inf
    assert compute(outputs, targets).total.item() == pytest.approx(expected.total.item())


def test_a_head_of_other_classes_is_refused() -> None:
    with pytest.raises(InputError, match=r"^outputs: expected those of 2 classes, found 3$"):
        Criterion(CLASSES - 1)(random_outputs(batch=1), [EMPTY])


BOX = [[8.0, 8.0, 40.0, 40.0]]


@pytest.mark.parametrize(
    ("boxes", "labels", "said"),
    [
        (BOX, [3], r"targets: expected labels from 0 to 2, found 3 to 3: count classes from 0"),
        (BOX * 2, [0, -1], r"targets: expected labels from 0 to 2, found -1 to 0"),
        (BOX * 2, [0], r"targets\[0\]: expected boxes \(N, 4\) and labels \(N,\), found \(2, 4\) and \(1,\)"),
        ([[8.0, 8.0, 8.0, 40.0]], [0], r"targets: expected boxes x1, y1, x2, y2 with .* found \[8\.0, 8\.0, 8\.0"),
        ([*BOX, [1.0, 1.0, torch.nan, 9.0]], [0, 1], r"targets: expected boxes .* found \[1\.0, 1\.0, nan, 9\.0\]"),
        ([[0.1, 0.1, 0.5, 1.0]], [0], r"targets: expected boxes in pixels of the input, found none beyond 1"),
    ],
)
def test_targets_that_cannot_be_are_refused(boxes: list[list[float]], labels: list[int], said: str) -> None:
    target = Target(torch.tensor(boxes), torch.tensor(labels))
    with pytest.raises(InputError, match=rf"^{said}"):
        Criterion(CLASSES)(random_outputs(batch=1), [target])


def test_each_image_needs_a_target() -> None:
    with pytest.raises(InputError, match=r"^targets: expected one for each of 2 images, found 1$"):
        Criterion(CLASSES)(random_outputs(batch=2), [EMPTY])
    as_in_torchvision = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    with pytest.raises(InputError, match=r"^targets\[0\]: expected rtmdet.core.structures.Target\(.* found dict$"):
        Criterion(CLASSES)(random_outputs(batch=1), [as_in_torchvision])  # type: ignore[list-item]
