"""Box AM: raw maps by hand and against the reference, its targets, and what it leaves behind in the model."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from golden.adapter import beside_kink
from torch import Tensor, nn

from rtmdet.core.boxes import pairwise_iou
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import letterbox
from rtmdet.core.structures import DenseOutputs, Target
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.training.criterion import Criterion
from rtmdet.viz.box_am import box_am, fed_levels, merge_maps, normalize_in_boxes
from rtmdet.viz.box_targets import (
    GRADIENT_METHODS,
    box_loss_target,
    class_score_target,
    detection_target,
    source_levels,
)
from rtmdet.weights.load import load_weights, read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden" / "boxam_nano_person.npz"
METHODS = ("gradcam", "gradcam++", "eigencam", "ablationcam")
IMAGES = torch.arange(3 * 64 * 64, dtype=torch.uint8).reshape(1, 3, 64, 64)


class Toy(nn.Module):
    """Two channels a = x and b = 2 x of an image (1, 1, H, W), and 3 a - b as the only logit."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1, bias=False)
        self.act: nn.Module = nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(1, 1, 1)
        self.layer.weight.data = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)

    def forward(self, images: Tensor) -> DenseOutputs:
        self.unused(images)
        maps = self.act(self.layer(images))
        return DenseOutputs((3 * maps[:, :1] - maps[:, 1:],), (maps,))


TOY_IMAGE = torch.tensor([[[[1.0, 2], [3, 4]]]])


def sum_of_logits(outputs: DenseOutputs) -> Tensor:
    return outputs.logits[0].sum()


def fingerprint(model: nn.Module) -> tuple[list[int], list[type], bool]:
    hooks = [len(layer._forward_hooks) for layer in model.modules()]
    return hooks, [type(layer) for layer in model.modules()], all(p.grad is None for p in model.parameters())


def test_gradcam_by_hand() -> None:
    # gradients 3 and -1 at every place, absolute: map = 3 x + 1 * 2 x
    found = box_am(Toy(), "layer", TOY_IMAGE, sum_of_logits, "gradcam")
    assert np.allclose(found, 5 * TOY_IMAGE[0, 0].numpy())


def test_gradcam_plus_plus_by_hand() -> None:
    # alpha = g^2 / (2 g^2 + sum(A) g^3) with sums 10 and 20
    weights = [3 * 9 / (18 + 10 * 27), 1 * 1 / (2 + 20)]
    found = box_am(Toy(), "layer", TOY_IMAGE, sum_of_logits, "gradcam++")
    assert np.allclose(found, (weights[0] + 2 * weights[1]) * TOY_IMAGE[0, 0].numpy(), rtol=1e-5)


def test_ablationcam_by_hand() -> None:
    # The score is 10. Without the first channel (least value 1, then 1 - 1e7, cut by the ReLU) it is -20,
    # without the second 30: weights 3 and -2 on maps x and 2 x.
    found = box_am(Toy(), "layer", TOY_IMAGE, sum_of_logits, "ablationcam")
    assert np.allclose(found, (3 - 2 * 2) * TOY_IMAGE[0, 0].numpy())


def test_eigencam_by_hand() -> None:
    # channels x and 2 x lie on one line: the component is their centered length along it
    found = box_am(Toy(), "layer", TOY_IMAGE, sum_of_logits, "eigencam")
    expected = (TOY_IMAGE[0, 0] - 2.5).numpy() * 5**0.5
    assert min(np.abs(found - expected).max(), np.abs(found + expected).max()) < 1e-5


def test_eigencam_has_its_greater_peak_positive() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 2] = 1
    found = box_am(Toy(), "layer", image, sum_of_logits, "eigencam")
    assert found.argmax() == 6
    assert found.max() > -found.min()


def test_eigencam_ignores_the_padding() -> None:
    image = torch.tensor([[[[1.0, 2], [3, 4], [99, 0], [0, 50]]]])
    found = box_am(Toy(), "layer", image, sum_of_logits, "eigencam", content=(2, 2))
    expected = (TOY_IMAGE[0, 0] - 2.5).numpy() * 5**0.5
    assert min(np.abs(sign * found[:2] - expected).max() for sign in (1, -1)) < 1e-5


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_a_layer_without_influence_gives_an_empty_map(method: str) -> None:
    assert (box_am(Toy(), "unused", TOY_IMAGE, sum_of_logits, method) == 0).all()


@pytest.fixture(scope="module")
def model() -> RTMDet:
    torch.manual_seed(0)
    model = build_rtmdet("nano", 2).eval()
    for conv in model.bbox_head.rtm_reg:
        nn.init.ones_(conv.bias)  # boxes reach one stride to each side
    return model


def test_box_am_of_a_detector_has_the_layer_s_size(model: RTMDet) -> None:
    target = class_score_target(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]), (64, 64))
    for level, side in enumerate((8, 4, 2)):
        assert box_am(model, f"neck.out_convs[{level}]", IMAGES, target, "gradcam").shape == (side, side)


def test_only_eigencam_takes_a_layer_of_several_maps(model: RTMDet) -> None:
    target = class_score_target(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]), (64, 64))
    assert box_am(model, "neck", IMAGES, target, "eigencam").shape == (8, 8)
    for method in ("gradcam", "gradcam++", "ablationcam"):
        with pytest.raises(InputError, match="'neck' outputs 3 maps"):
            box_am(model, "neck", IMAGES, target, method)


def test_an_unknown_layer_is_refused(model: RTMDet) -> None:
    with pytest.raises(InputError, match="did you mean neck"):
        box_am(model, "nekc", IMAGES, sum_of_logits, "gradcam")


@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays_in_the_model(method: str) -> None:
    toy = Toy()
    before = fingerprint(toy)
    box_am(toy, "layer", TOY_IMAGE, sum_of_logits, method)
    assert fingerprint(toy) == before


@pytest.mark.parametrize("method", ["gradcam", "ablationcam"])
@pytest.mark.parametrize("calls", [0, 1])
def test_nothing_stays_in_the_model_after_a_failure(method: str, calls: int) -> None:
    toy, count = Toy(), 0
    before = fingerprint(toy)

    def failing(outputs: DenseOutputs) -> Tensor:
        nonlocal count
        count += 1
        if count > calls or method == "gradcam":
            raise RuntimeError("target failed")
        return sum_of_logits(outputs)

    with pytest.raises(RuntimeError, match="target failed") as failure:
        box_am(toy, "layer", TOY_IMAGE, failing, method)
    assert fingerprint(toy) == before  # while the traceback keeps everything alive
    assert failure.tb is not None


def test_ablation_sees_the_layer_before_an_in_place_activation() -> None:
    toy = Toy()
    toy.act = nn.Hardsigmoid(inplace=True)  # twice differs from once
    toy.layer.weight.data = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    image = 0.2 * TOY_IMAGE
    # v / 6 + 0.5 takes the sums 2 and 6 to 7 / 3 and 3: score 4, without the first -3, without the second 7.
    expected = 7 / 4 * image - 3 / 4 * 3 * image
    assert np.allclose(box_am(toy, "layer", image, sum_of_logits, "ablationcam"), expected[0, 0], atol=1e-5)


def dense_outputs() -> DenseOutputs:
    """Two classes on a 64 px input: one object of class 1 at the prior (16, 8), box 8 16 40 24 of score 0.88."""
    logits = [torch.full((1, 2, side, side), -9.0) for side in (8, 4, 2)]
    distances = [torch.full((1, 4, side, side), 4.0) for side in (8, 4, 2)]
    logits[0][0, 1, 1, 2] = 2.0
    distances[0][0, :, 1, 2] = torch.tensor([8.0, -8, 24, 16])
    return DenseOutputs(tuple(logits), tuple(distances))


BOX = torch.tensor([[8.0, 16, 40, 24]])
# Logit x score of the box's own prior, and of one prior of each of the two levels that saw nothing.
WEIGHTED = 2 / (1 + np.exp(-2)) - 2 * 9 / (1 + np.exp(9))


def test_class_score_target_takes_one_prior_of_every_level() -> None:
    outputs = dense_outputs()
    for logits in outputs.logits:
        logits.requires_grad_()
    score = class_score_target(BOX + 0.01, torch.tensor([1]), (64, 64))(outputs)
    score.backward()
    assert score.item() == pytest.approx(WEIGHTED)
    assert outputs.logits[0].grad is not None
    assert outputs.logits[0].grad.nonzero().tolist() == [[0, 1, 1, 2]]
    assert [int((logits.grad != 0).sum()) for logits in outputs.logits] == [1, 1, 1]
    # The gradient of a logit is its score: the level that found the box outshines the others.
    assert [logits.grad.max().item() for logits in outputs.logits] == pytest.approx(
        [0.8808, 1.234e-4, 1.234e-4], rel=1e-3
    )


def test_class_score_target_finds_boxes_that_were_cut_at_the_border() -> None:
    outputs = dense_outputs()
    outputs.distances[0][0, :, 1, 2] = torch.tensor([600.0, 600, 600, 600])
    whole = torch.tensor([[0.0, 0, 64, 64]])
    assert class_score_target(whole, torch.tensor([1]), (64, 64))(outputs).item() == pytest.approx(WEIGHTED)


def test_detection_target_by_hand() -> None:
    outputs, score = dense_outputs(), torch.tensor(2.0).sigmoid().item()
    shifted = BOX + torch.tensor([4.0, 0, 4, 0])  # IoU 28 / 36
    far = BOX + torch.tensor([12.0, 0, 12, 0])  # IoU 20 / 44, too little
    boxes, labels = torch.cat([BOX, shifted, far, BOX]), torch.tensor([1, 1, 1, 0])  # the last has another label
    found = detection_target(boxes, labels, (64, 64))(outputs)
    assert found.item() == pytest.approx(1 + 28 / 36 + 2 * score)


def test_detection_target_ignores_boxes_of_other_classes() -> None:
    """Another class has a weak box that fits better: the score of the box's own class counts."""
    outputs = dense_outputs()
    outputs.logits[0][0, 0, 1, 3] = -3.0
    outputs.distances[0][0, :, 1, 3] = torch.tensor([16.0, -8, 16, 16])  # BOX itself, seen from the prior (24, 8)
    shifted = BOX + torch.tensor([4.0, 0, 4, 0])
    outputs.distances[0][0, :, 1, 2] += torch.tensor([-4.0, 0, 4, 0])
    assert pairwise_iou(BOX, shifted).item() == pytest.approx(28 / 36)
    found = detection_target(BOX, torch.tensor([1]), (64, 64))(outputs)
    assert found.item() == pytest.approx(28 / 36 + torch.tensor(2.0).sigmoid().item())


def test_detection_target_without_any_detection() -> None:
    outputs = DenseOutputs(*(tuple(torch.full_like(t, -9) for t in levels) for levels in dense_outputs()))
    assert detection_target(BOX, torch.tensor([1]), (64, 64))(outputs) == 0


def test_box_loss_target_is_the_box_loss_of_training() -> None:
    boxes, labels = BOX + 3, torch.tensor([1])
    expected = Criterion(2)(dense_outputs(), [Target(boxes, labels)]).box
    assert expected > 0
    assert box_loss_target(boxes, labels, 2)(dense_outputs()) == expected


@pytest.mark.parametrize(
    ("layer", "levels"),
    [
        ("neck.out_convs[0]", {0}),
        ("neck.out_convs[2]", {2}),
        ("neck.bottom_up_blocks[0]", {1, 2}),
        ("bbox_head.rtm_reg[1]", {1}),
        ("backbone.stage4", {0, 1, 2}),
        ("neck", {0, 1, 2}),
    ],
)
def test_levels_that_a_layer_feeds(layer: str, levels: set[int]) -> None:
    torch.manual_seed(0)
    model = build_rtmdet("nano", 1).eval()
    before = fingerprint(model)
    assert fed_levels(model, layer, IMAGES) == levels
    assert fingerprint(model) == before


def test_a_layer_that_nothing_depends_on_feeds_nothing() -> None:
    assert fed_levels(Toy(), "layer", TOY_IMAGE) == {0}
    assert fed_levels(Toy(), "unused", TOY_IMAGE) == set()
    toy = Toy()
    toy.idle = torch.nn.Identity()  # listed, but never called
    assert fed_levels(toy, "idle", TOY_IMAGE) == set()


def test_gradients_that_a_training_has_accumulated_stay() -> None:
    toy = Toy()
    for parameter in toy.parameters():
        parameter.grad = torch.ones_like(parameter)
    box_am(toy, "layer", TOY_IMAGE, sum_of_logits, "gradcam")
    assert all(one.requires_grad and torch.equal(one.grad, torch.ones_like(one)) for one in toy.parameters())


@pytest.mark.parametrize("without", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS)
def test_neither_frozen_weights_nor_switched_off_gradients_matter(
    model: RTMDet, method: str, without: Callable[[], AbstractContextManager[object]]
) -> None:
    target = class_score_target(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]), (64, 64))
    frozen = copy.deepcopy(model).requires_grad_(False)
    for layer, levels in (("neck.out_convs[1]", {1}), ("backbone.stage2", {0, 1, 2})):
        expected = box_am(model, layer, IMAGES, target, method)
        with without():
            assert fed_levels(frozen, layer, IMAGES.clone()) == levels
            assert np.array_equal(box_am(frozen, layer, IMAGES.clone(), target, method), expected)
        assert expected.any()
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_source_levels_are_those_of_the_priors() -> None:
    """Level k predicts boxes that reach 4, 20 and 100 pixels from each prior."""
    sizes = ((8, 8), (4, 4), (2, 2))
    distances = tuple(torch.full((1, 4, *size), reach) for size, reach in zip(sizes, (4.0, 20, 100), strict=True))
    outputs = DenseOutputs(tuple(torch.zeros(1, 2, *size) for size in sizes), distances)
    boxes = torch.tensor([[0.0, 0, 64, 64], [12, 12, 20, 20], [0, 0, 36, 36]])
    assert source_levels(outputs, boxes, (64, 64)).tolist() == [2, 0, 1]
    assert source_levels(outputs, boxes[:0], (64, 64)).tolist() == []


@pytest.mark.parametrize("method", METHODS)
def test_without_boxes_the_map_of_an_explaining_method_is_empty(method: str) -> None:
    torch.manual_seed(0)
    boxes, labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    make = detection_target if method == "ablationcam" else class_score_target
    found = box_am(build_rtmdet("nano", 1).eval(), "neck.out_convs[2]", IMAGES, make(boxes, labels, (64, 64)), method)
    assert found.shape == (2, 2)
    assert (method == "eigencam") == bool(found.any())


def test_merged_maps_are_clipped_scaled_and_averaged() -> None:
    first, second = np.array([[-5.0, 1], [3, 0]]), np.array([[0.0, 0], [40, 40]])
    merged = merge_maps([first, second], (64, 64), (64, 64))
    assert merged.shape == (64, 64)
    corners = merged[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.allclose(
        corners, [0, 1 / 6, 1, 0.5], atol=0.01
    )  # the first pixels are a little after the cell; means of (0, 0), (1/3, 0), (1, 1), (0, 1)
    apart = merge_maps([np.array([[4.0, 0], [0, 0]]), np.array([[0.0, 0], [0, 4]])], (64, 64), (64, 64))
    assert apart.max() == pytest.approx(1, abs=1e-5)  # though the mean is 0.5


def test_merged_maps_are_scaled_after_the_padding_is_cut() -> None:
    raw = np.array([[1.0, 2], [100, 100]])  # the lower half is padding
    assert merge_maps([raw], (32, 64), (64, 64)).max() == pytest.approx(1, abs=1e-5)
    assert merge_maps([np.zeros((2, 2))], (32, 64), (64, 64)).max() == 0


def test_normalize_in_boxes() -> None:
    heat = np.tile(np.arange(8, dtype=np.float32), (4, 1))
    boxes = np.array([[0, 0, 3, 2], [2, 0, 6, 2], [7.2, 0, 7.9, 1], [-3, 3, 2, 9]], np.float32)
    found = normalize_in_boxes(heat, boxes)
    assert np.allclose(found[0], [0, 0.5, 1, 1 / 3, 2 / 3, 1, 0, 0], atol=1e-5)  # column 2: the greater of 1 and 0
    assert (found[2] == 0).all()
    assert np.allclose(found[3], [0, 1, 0, 0, 0, 0, 0, 0], atol=1e-5)
    assert heat[0, 7] == 7


@pytest.fixture(scope="module")
def real_model(shared: Path) -> RTMDet:
    model = build_rtmdet("nano", 1).eval()
    load_weights(model, read_checkpoint(shared / "weights" / "rtmdet_nano_person.pth"))
    return model


@pytest.fixture(scope="module")
def real_images(shared: Path) -> Tensor:
    photo = cv2.imread(str(shared / "data" / "balloon" / "val" / "4838031651_3e7b5ea5c7_b.jpg"))
    canvas, _ = letterbox(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), (640, 640))
    return torch.from_numpy(canvas).permute(2, 0, 1)[None]


CASES = [(method, level) for method in METHODS[:3] for level in range(3)]


@pytest.mark.shared
@pytest.mark.parametrize(("method", "level"), CASES)  # ablationcam: tests/golden
def test_raw_maps_equal_the_reference(real_model: RTMDet, real_images: Tensor, method: str, level: int) -> None:
    golden = np.load(GOLDEN)
    boxes = torch.from_numpy(golden["pseudo_gt"])
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    target = detection_target(boxes, labels, (640, 640))
    if method in GRADIENT_METHODS:
        target = box_loss_target(beside_kink(real_model, real_images, boxes), labels, 1)
    found = box_am(real_model, f"neck.out_convs[{level}]", real_images, target, method)
    expected = golden[f"{method}_{level}"]
    signs = (1, -1) if method == "eigencam" else (1,)
    assert min(np.abs(sign * found - expected).max() for sign in signs) < 1e-3 * np.abs(expected).max()
