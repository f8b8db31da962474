"""The whole network against the reference's facts and numbers, and the contract of its forward pass.

Dimension legend: B batch, H, W height and width of the input.
"""

import functools
import json

import numpy as np
import pytest
import torch
from golden import adapter, reference
from models.complexity import count_multiply_adds, count_parameters
from torch import Tensor, nn

from rtmdet.core.errors import InputError
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.models.zoo import COSTS, SIZES

FACTS = reference.HERE / "facts"
SUMMARY = json.loads((FACTS / "summary.json").read_text())
RULES = reference.compare_module()
FILES = [
    "forward_tiny_320",
    "forward_tiny_b2_256x320",
    "forward_s_c3_224x352",
    pytest.param("forward_m_192x256", marks=pytest.mark.slow),
]


def fact_name(size: str) -> str:
    """The reference's facts call the nano size by the one model that was published of it."""
    return "nano_person" if size == "nano" else size


@functools.cache
def outline(size: str) -> RTMDet:
    """A model with the published classes whose tensors have shapes but no values."""
    with torch.device("meta"):
        return build_rtmdet(size, 1 if size == "nano" else 80)


def random_images(batch: int, height: int = 64, width: int = 96) -> Tensor:
    """(B, 3, H, W) uint8."""
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_and_multiply_adds(size: str) -> None:
    model, facts = outline(size), SUMMARY[fact_name(size)]
    assert count_parameters(model) == facts["params_unique"]
    assert count_multiply_adds(model, (640, 640)) == facts["flops_640_mmengine"]
    if size == "nano":
        assert count_multiply_adds(model, (320, 320)) == facts["flops_320_mmengine"]
        return
    assert count_parameters(model.backbone) == facts["params_backbone"]
    assert count_parameters(model.neck) == facts["params_neck"]
    assert count_parameters(model.bbox_head) == facts["params_head"]
    assert len(list(model.parameters())) == facts["n_parameters"]


@pytest.mark.parametrize("size", SIZES)
def test_state_has_the_reference_names_in_order_with_shapes_and_types(size: str) -> None:
    expected = json.loads((FACTS / f"state_dict_{fact_name(size)}.json").read_text())
    found = {
        name: [list(value.shape), str(value.dtype).removeprefix("torch.")]
        for name, value in outline(size).state_dict().items()
    }
    assert list(found) == list(expected)
    assert found == expected


@pytest.mark.parametrize("size", SIZES)
def test_batch_norms_have_the_reference_settings(size: str) -> None:
    norms = [layer for layer in outline(size).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}
    if size != "nano":
        assert len(norms) == SUMMARY[size]["n_bn"]


@pytest.mark.parametrize("size", SIZES)
def test_larger_sizes_predict_the_logarithm_of_distances(size: str) -> None:
    expected = size != "nano" and SUMMARY[size]["head"]["exp_on_reg"]
    assert outline(size).bbox_head.exponential == expected


@pytest.mark.parametrize("size", SIZES)
def test_the_table_of_costs_is_what_is_counted(size: str) -> None:
    model, cost = outline(size), COSTS[size]
    assert (cost.classes, cost.parameters) == (model.bbox_head.num_classes, count_parameters(model))
    for shape in ((640, 640), (64, 96)):
        assert cost.multiply_adds(shape) == count_multiply_adds(model, shape)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = build_rtmdet("nano", 1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_multiply_adds(model, (64, 64))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(layer.training for layer in model.modules())
    assert not any(layer._forward_hooks for layer in model.modules())


@pytest.mark.parametrize("name", FILES)
def test_maps_of_every_room_are_the_reference(name: str) -> None:
    """Backbone, neck, logits and distances in float64, with the reference's rule for weights."""
    golden = reference.load(name)
    model = RULES.load_weights(
        build_rtmdet(str(golden["size"]), int(golden["num_classes"])), int(golden["weight_seed"]), golden["bn_stats"]
    )
    size = int(golden["img_h"]), int(golden["img_w"])
    drawers = [RULES.shapes_img if kind == "shapes" else RULES.noisy_img for kind in golden["img_kinds"]]
    images = [draw(*size, int(seed)) for draw, seed in zip(drawers, golden["img_seeds"], strict=True)]
    with torch.no_grad():
        rooms = adapter.features(model.double(), RULES.to_input(*images).double())
    for room, levels in zip(("backbone", "neck", "cls", "reg"), rooms, strict=True):
        for i, level in enumerate(levels):
            assert list(level.shape) == golden[f"{room}{i}_shape"].tolist()
            expected = golden[f"{room}{i}"]
            found = level.flatten()[:: int(golden[f"{room}{i}_step"])].numpy()
            assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max(), (room, i)


def test_normalization_is_the_reference_and_takes_rgb() -> None:
    model, golden = build_rtmdet("nano", 1), reference.load("test_pipeline")
    bgr, _ = adapter.letterbox(RULES.noisy_img(*(int(number) for number in golden["arr0_gen"])))
    images = torch.from_numpy(bgr[:, :, ::-1].copy()).permute(2, 0, 1)[None]  # (1, 3, H, W) RGB
    found = model.normalize(images)
    assert torch.equal(found, RULES.to_input(bgr))
    np.testing.assert_array_equal(found[0, :, ::32, ::32], golden["arr0_norm_sub32"])


def test_forward_is_normalization_backbone_neck_and_head() -> None:
    model, bgr = build_rtmdet("nano", 2).eval(), RULES.shapes_img(64, 96, 3)
    images = torch.from_numpy(bgr[:, :, ::-1].copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        _, _, logits, distances = adapter.features(model, RULES.to_input(bgr))
        outputs = model(images)
    for found, expected in zip([*outputs.logits, *outputs.distances], [*logits, *distances], strict=True):
        assert torch.equal(found, expected)


def test_batch_gives_what_single_images_give() -> None:
    model, images = build_rtmdet("tiny", 4).double().eval(), random_images(3)
    before = images.clone()
    with torch.no_grad():
        batched = model(images)
        for i in range(3):
            single = model(images[i : i + 1])
            for a, b in zip([*batched.logits, *batched.distances], [*single.logits, *single.distances], strict=True):
                torch.testing.assert_close(a[i : i + 1], b, rtol=1e-10, atol=1e-10)
    assert torch.equal(images, before)


def test_evaluation_mode_leaves_nothing_behind() -> None:
    model, images = build_rtmdet("nano", 2).eval(), random_images(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        first, second = model(images), model(images)
    assert all(torch.equal(a, b) for a, b in zip(first.logits, second.logits, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_distances_are_at_least_float32(dtype: torch.dtype, autocast: bool) -> None:
    model, images = build_rtmdet("nano", 2).eval(), random_images(1)
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            outputs = (model if autocast else model.to(dtype))(images)
    assert {level.dtype for level in outputs.logits} == {dtype}
    assert {level.dtype for level in outputs.distances} == {torch.float32}
    for level, expected in zip(outputs.logits, exact.logits, strict=True):
        torch.testing.assert_close(level.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(("stages", "modules"), [(-1, 0), (0, 1), (2, 3), (4, 5)])
def test_freezing_stops_the_stem_and_the_first_stages(stages: int, modules: int) -> None:
    backbone = build_rtmdet("nano", 1).backbone
    parts = [backbone.stem, backbone.stage1, backbone.stage2, backbone.stage3, backbone.stage4]
    assert backbone.freeze(stages) == parts[:modules]
    for i, part in enumerate(parts):
        assert {parameter.requires_grad for parameter in part.parameters()} == {i >= modules}


def test_freezing_stops_the_backbone_only() -> None:
    model = build_rtmdet("nano", 1)
    model.backbone.freeze(4)
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {name.split(".")[0] for name in learning} == {"neck", "bbox_head"}


def test_constants_of_the_input_are_not_saved_but_follow_the_model() -> None:
    model = build_rtmdet("nano", 1)
    assert not {"mean", "std"} & set(model.state_dict())
    assert model.double().mean.dtype == torch.float64


def test_impossible_models_are_refused_with_one_line() -> None:
    with pytest.raises(InputError, match=r"^model size 'huge' does not exist: choose one of nano, tiny, s, m, l, x$"):
        build_rtmdet("huge", 80)
    with pytest.raises(InputError, match=r"^a detector needs at least one class, found 0$"):
        build_rtmdet("tiny", 0)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 64, 64, 3), (1, 3, 60, 64), (1, 3, 0, 64)])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """An image without the batch would be read upside down, one channel as three."""
    with pytest.raises(InputError, match=r"^images: expected \(B, 3, H, W\), H and W multiples of 32, found"):
        build_rtmdet("nano", 1)(torch.zeros(shape, dtype=torch.uint8))


def test_floats_from_0_to_1_are_refused_and_black_is_not() -> None:
    model = build_rtmdet("nano", 1).eval()
    with torch.no_grad():
        for dark in (torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32), torch.full((1, 3, 32, 32), 1.5)):
            model(dark)
        with pytest.raises(InputError, match=r"^images: expected values from 0 to 255, found floats from 0 to 1"):
            model(torch.full((1, 3, 32, 32), 0.5))
