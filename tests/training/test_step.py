"""One optimizer step: joined batches, short floats, and what is not a number.

Dimension legend: B batch, K classes.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import nn

from rtmdet.core.boxes import level_sizes
from rtmdet.core.errors import InputError
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import Batch, DenseOutputs, ImageMeta, Target
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.training.criterion import Criterion
from rtmdet.training.step import NotFiniteError, Stepper

CLASSES = 2
SIZE = 64
CPU = torch.device("cpu")


def make_batch(boxes: Sequence[Sequence[float] | None], seed: int = 0) -> Batch:
    """Noise with one object an image, or none."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (len(boxes), 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
    targets = [
        Target(torch.tensor([box]), torch.tensor([i % CLASSES]))
        if box
        else Target(torch.zeros(0, 4), torch.zeros(0).long())
        for i, box in enumerate(boxes)
    ]
    return Batch(images, targets, [ImageMeta(100 + i, "", (SIZE, SIZE)) for i in range(len(boxes))])


def part_of(batch: Batch, begin: int, end: int) -> Batch:
    return Batch(batch.images[begin:end], batch.targets[begin:end], batch.metas[begin:end])


def make_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_rtmdet("nano", CLASSES)


def make_detecting_model() -> nn.Module:
    """First boxes that overlap objects, so that normalizers exceed their least value 1 and differ among batches."""
    model = make_model().double().eval()
    for convolution in model.get_submodule("bbox_head.rtm_reg").children():
        nn.init.constant_(convolution.get_parameter("bias"), 1.5)
    return model


def make_stepper(
    model: nn.Module, *, precision: str = "float32", optimizer: torch.optim.Optimizer | None = None
) -> Stepper:
    return Stepper(
        model,
        criterion=Criterion(CLASSES),
        optimizer=optimizer or torch.optim.AdamW(model.parameters()),
        device=CPU,
        precision=precision,
    )


FOUR = make_batch([[4, 4, 40, 44], None, [10, 2, 60, 30], [0, 0, 64, 64]])


@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 3, 4), (0, 1, 2, 4)], ids=["even", "uneven", "one of them empty"])
def test_joined_batches_learn_as_one_does(cuts: Sequence[int]) -> None:
    """Batch norms in evaluation mode, float64: the same losses, norms and weights after three steps."""
    results = []
    for batches in ([FOUR], [part_of(FOUR, a, b) for a, b in pairwise(cuts)]):
        model = make_detecting_model()
        stepper = make_stepper(model)
        numbers = [stepper(batches, iteration=i, learning_rate=0.002) for i in range(3)]
        results.append((numbers, nn.utils.parameters_to_vector(model.parameters())))
    (one, one_weights), (joined, joined_weights) = results
    for a, b in zip(one, joined, strict=True):
        assert b.classification == pytest.approx(a.classification, rel=1e-9)
        assert b.box == pytest.approx(a.box, rel=1e-9)
        assert b.gradient_norm == pytest.approx(a.gradient_norm, rel=1e-9)
        assert (b.positives, b.ground_truths, b.unassigned) == (a.positives, a.ground_truths, a.unassigned)
    assert one[0].ground_truths == 3
    torch.testing.assert_close(joined_weights, one_weights, rtol=0, atol=1e-9)


def test_first_step_of_batches_without_objects_is_that_of_one(tmp_path: object) -> None:
    """The normalizer's least value 1 holds for the step, not for each of its batches."""
    batch = make_batch([None, None])
    norms = []
    for batches in ([batch], [part_of(batch, 0, 1), part_of(batch, 1, 2)]):
        norms.append(
            make_stepper(make_model().double().eval())(batches, iteration=0, learning_rate=0.1).gradient_norm
        )
    assert norms[0] > 0
    assert norms[1] == pytest.approx(norms[0], rel=1e-9)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_short_floats_learn_almost_the_same(precision: str) -> None:
    """The network runs in short floats, the losses do not; weights and gradients stay float32."""
    losses = {}
    for name in ("float32", precision):
        model = make_model().eval()
        stepper = make_stepper(model, precision=name)
        losses[name] = [stepper([FOUR], iteration=i, learning_rate=1e-3) for i in range(3)]
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    for a, b in zip(losses["float32"], losses[precision], strict=True):
        assert b.classification == pytest.approx(a.classification, rel=0.1)
        assert b.box == pytest.approx(a.box, rel=0.1)
        assert b.classification != a.classification, "short floats were used"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_boxes_of_the_whole_image_do_not_overflow(dtype: torch.dtype) -> None:
    """640 x 640 is more than the largest fp16 number, 65504; decoding, assignment and losses run above it."""
    size = (640, 640)
    logits = tuple(torch.full((2, 3, *level), -2.0) for level in level_sizes(size))
    distances = []
    for stride, (height, width) in zip(STRIDES, level_sizes(size), strict=True):
        x = (torch.arange(width) * stride).expand(height, width)
        y = (torch.arange(height) * stride)[:, None].expand(height, width)
        distances.append(torch.stack([x, y, 640 - x, 640 - y])[None].expand(2, -1, -1, -1))
    targets = [Target(torch.tensor([[0.0, 0.0, 640.0, 640.0]]), torch.tensor([1]))] * 2
    outputs = DenseOutputs(logits, tuple(level.float() for level in distances))
    short = DenseOutputs(
        tuple(level.to(dtype).requires_grad_() for level in logits),
        tuple(level.to(dtype).requires_grad_() for level in distances),
    )
    assert torch.isinf(torch.tensor(640.0, dtype=torch.float16).square()), "what goes wrong elsewhere"
    expected, found = Criterion(3)(outputs, targets), Criterion(3)(short, targets)
    assert found.total.dtype == torch.float32
    assert found.positives == expected.positives == 26
    torch.testing.assert_close(found.total, expected.total, rtol=2e-2 if dtype == torch.bfloat16 else 1e-3, atol=1e-3)
    found.total.backward()
    assert all(level.grad is not None and level.grad.isfinite().all() for level in (*short.logits, *short.distances))


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    model = make_model()
    weight = next(model.parameters())
    weight.register_hook(lambda gradient: gradient * math.inf)
    before = nn.utils.parameters_to_vector(model.parameters()).clone()
    expected = r"the gradient is not finite: its norm is (nan|inf), classification .+, image ids 100, 101"
    with pytest.raises(NotFiniteError, match=expected):
        make_stepper(model)([FOUR], iteration=0, learning_rate=0.1)
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), before)


def test_a_scaler_passes_over_a_step_that_overflowed() -> None:
    """fp16: the scale is halved and the weights stay; the run goes on."""
    model = make_model()
    hook = next(model.parameters()).register_hook(lambda gradient: gradient * math.inf)
    stepper = make_stepper(model, precision="fp16")
    before = nn.utils.parameters_to_vector(model.parameters()).clone()
    scale = stepper.scaler.get_scale()
    stepper([FOUR], iteration=0, learning_rate=0.1)
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), before)
    assert stepper.scaler.get_scale() == scale / 2
    hook.remove()
    stepper([FOUR], iteration=1, learning_rate=0.1)
    assert not torch.equal(nn.utils.parameters_to_vector(model.parameters()), before)


def test_ground_truths_without_a_prior_are_counted() -> None:
    """A box between the points of all levels gets none."""
    found = make_stepper(make_model())([make_batch([[1, 1, 7, 7], [4, 4, 40, 44]])], iteration=0, learning_rate=0.0)
    assert (found.ground_truths, found.unassigned) == (2, 1)
    assert found.positives >= 1


def test_fp16_that_overflows_at_every_scale_is_an_error() -> None:
    model = make_model()
    next(model.parameters()).register_hook(lambda gradient: gradient * math.nan)
    stepper = make_stepper(model, precision="fp16")
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    assert stepper([FOUR], iteration=0, learning_rate=0.1).gradient_norm == 0
    with pytest.raises(NotFiniteError, match="overflows fp16 at every scale"):
        stepper([FOUR], iteration=1, learning_rate=0.1)


def test_a_batch_that_gives_a_batch_norm_one_value_is_named() -> None:
    """A map of 1 x 1 of a single image."""
    small = Batch(FOUR.images[:1, :, :32, :32], [FOUR.targets[1]], FOUR.metas[:1])
    with pytest.raises(InputError, match=r"a batch of 1 image\(s\) of 32 x 32 pixels gives a batch norm a single"):
        make_stepper(make_model().train())([small], iteration=0, learning_rate=0.1)
