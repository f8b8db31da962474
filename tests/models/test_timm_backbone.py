"""Backbones of timm: maps of the right sizes, the input they were trained with, one line for what cannot be used.

Random weights at 64 to 96 pixels; nothing is fetched.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from rtmdet.core.errors import InputError
from rtmdet.core.structures import DenseOutputs
from rtmdet.models.backbone import CSPNeXt
from rtmdet.models.folding import fold_batch_norms
from rtmdet.models.layers import ConvBNAct
from rtmdet.models.rtmdet import RTMDet, build_rtmdet, synchronize_batch_norms
from rtmdet.models.timm_backbone import TimmBackbone, freeze_unused
from rtmdet.training.ema import ExponentialMovingAverage

RESNET = "timm/resnet18"
SMALL = "timm/lcnet_050"  # batch norms with activations inside
# Plain maps; batch norms with activations inside; maps of (B, H, W, C); windows of one size, freed from it.
FAMILIES = (RESNET, SMALL, "timm/mambaout_femto", "timm/swin_tiny_patch4_window7_224")


@pytest.fixture(scope="module")
def small() -> RTMDet:
    """A detector on SMALL in evaluation mode whose batch norms do something."""
    torch.manual_seed(0)
    model = build_rtmdet("nano", 2, backbone=SMALL).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert isinstance(layer.running_mean, Tensor)
                assert isinstance(layer.running_var, Tensor)
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.2, 0.5)
        for convolution in [*model.bbox_head.rtm_cls, *model.bbox_head.rtm_reg]:
            convolution.weight.normal_()
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def worst_difference(a: DenseOutputs, b: DenseOutputs) -> float:
    """Largest difference of any output, relative to its level's largest value."""
    pairs = zip([*a.logits, *a.distances], [*b.logits, *b.distances], strict=True)
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in pairs)


def refusal(backbone: str, *, pretrained: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        build_rtmdet("nano", 1, backbone=backbone, pretrained=pretrained)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_and_gradients(name: str, images: Tensor) -> None:
    model = build_rtmdet("nano", 2, backbone=name)
    maps = model.backbone(model.normalize(images))
    assert [tuple(y.shape[2:]) for y in maps] == [(8, 12), (4, 6), (2, 3)]
    assert tuple(y.shape[1] for y in maps) == model.backbone.out_channels
    outputs = model(images)
    assert [tuple(y.shape) for y in outputs.logits] == [(2, 2, 8, 12), (2, 2, 4, 6), (2, 2, 2, 3)]
    sum(y.square().sum() for y in [*outputs.logits, *outputs.distances]).backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    assert {key.partition(".")[0] for key in model.state_dict()} == {"backbone", "neck", "bbox_head"}


def test_neck_and_head_are_the_sizes() -> None:
    model = build_rtmdet("tiny", 3, backbone=RESNET)
    plain = build_rtmdet("tiny", 3)
    assert (model.backbone.out_channels, plain.backbone.out_channels) == ((128, 256, 512), (96, 192, 384))
    heads = [{key: value.shape for key, value in m.bbox_head.state_dict().items()} for m in (model, plain)]
    assert heads[0] == heads[1]
    assert torch.allclose(model.bbox_head.rtm_cls[0].bias, torch.tensor(-4.59512))
    necks = [{key for key, _ in m.neck.named_parameters()} for m in (model, plain)]
    assert necks[0] == necks[1]


@pytest.mark.parametrize("name", [RESNET, "timm/tf_efficientnet_lite0", "timm/mobilevit_xxs"])
def test_input_is_what_the_model_was_trained_with(name: str, images: Tensor) -> None:
    """The statistics of ImageNet, (x - 0.5) / 0.5, and 0 .. 1 as it is; computed by timm's own transform."""
    model = build_rtmdet("nano", 1, backbone=name)
    seen: list[Tensor] = []
    assert isinstance(model.backbone.features, nn.Module)
    model.backbone.features.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(images)
    config = timm.get_pretrained_cfg(name.removeprefix("timm/")).to_dict()
    transform = timm.data.create_transform((3, 64, 96), mean=config["mean"], std=config["std"], crop_pct=1.0)
    normalize = transform.transforms[-1]
    expected = torch.stack([normalize(image.float() / 255) for image in images])
    torch.testing.assert_close(seen[0], expected, atol=2e-6, rtol=1e-5)


def test_name_says_the_weights_and_rebuilds_the_model() -> None:
    model = build_rtmdet("nano", 1, backbone=RESNET)
    assert model.backbone_name.startswith(f"{RESNET}.")
    again = build_rtmdet("nano", 1, backbone=model.backbone_name)
    assert again.backbone_name == model.backbone_name
    again.load_state_dict(model.state_dict())
    assert build_rtmdet("nano", 1).backbone_name == ""
    without = build_rtmdet("nano", 1, backbone="timm/selecsls42")  # timm has no weights of it
    assert build_rtmdet("nano", 1, backbone=without.backbone_name).backbone_name == without.backbone_name


def test_folding_and_averaging_keep_the_outputs(small: RTMDet, images: Tensor) -> None:
    """Folding leaves timm's batch norms alone: activations are inside them."""
    norms = [layer for layer in small.backbone.modules() if isinstance(layer, BatchNormAct2d)]
    assert norms
    averaged = ExponentialMovingAverage(small)
    averaged.update(small)
    folded = fold_batch_norms(small)
    assert not any(isinstance(layer.bn, nn.BatchNorm2d) for layer in folded.modules() if isinstance(layer, ConvBNAct))
    assert len([layer for layer in folded.modules() if isinstance(layer, BatchNormAct2d)]) == len(norms)
    with torch.no_grad():
        before = small(images)
        assert worst_difference(averaged.model.eval()(images), before) == 0
        assert worst_difference(folded(images), before) < 1e-4


def test_synchronized_batch_norms_keep_activations(small: RTMDet, images: Tensor) -> None:
    model = synchronize_batch_norms(copy.deepcopy(small))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert any(isinstance(layer, nn.SyncBatchNorm) for layer in model.neck.modules())
    with torch.no_grad():
        assert worst_difference(model(images), small(images)) == 0
    plain = build_rtmdet("tiny", 1)
    count = len([layer for layer in plain.modules() if isinstance(layer, nn.BatchNorm2d)])
    plain = synchronize_batch_norms(plain)
    assert isinstance(plain.backbone, CSPNeXt)
    assert len([layer for layer in plain.modules() if isinstance(layer, nn.SyncBatchNorm)]) == count


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet_18", "expected timm/<name of a timm model>, nearest: timm/resnet18, "),
        ("resnet18", "expected timm/<name of a timm model>, nearest: timm/resnet18, "),
        ("timm/hf-hub:timm/resnet18.a1_in1k", "expected timm/<name of a timm model>"),
        ("timm/local-dir:weights", "expected timm/<name of a timm model>"),
        ("timm/", "expected timm/<name of a timm model>"),
        ("timm/resnet18.mine", "timm has no weights 'mine' for resnet18, only: timm/resnet18.a1_in1k, "),
        ("timm/vit_tiny_patch16_224", "expected maps of strides 8, 16 and 32, found 16: choose a convolutional"),
        ("timm/levit_128s", "expected maps of strides 8, 16 and 32, found 16, 32, 64: "),
        (
            "timm/maxvit_tiny_tf_224",
            "expected to work at any multiples of 32 pixels, at 96 x 160 it does not (height",
        ),
        (
            "timm/inception_v3",
            "at 96 x 160 it does not (its maps have sizes [(9, 17), (4, 8), (1, 3)] instead of [(12, 20)",
        ),
    ],
)
def test_backbones_that_cannot_be_used_are_named(name: str, message: str) -> None:
    assert refusal(name).startswith(f"backbone {name}: ")
    assert message in refusal(name)


def test_pretrained_weights_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What timm reads from its hub stands in the backbone; neck and head are those of an unfetched model."""
    state = timm.create_model("resnet18").state_dict()
    asked = []

    def answer(model_id: str, **options: object) -> dict[str, Tensor]:
        asked.append(model_id)
        return dict(state)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", answer)
    model = build_rtmdet("nano", 1, backbone="timm/resnet18.a2_in1k", pretrained=True)
    assert asked == ["timm/resnet18.a2_in1k"]
    found = model.backbone.features.state_dict()
    assert found
    assert all(torch.equal(value, state[key]) for key, value in found.items())
    build_rtmdet("nano", 1, backbone="timm/resnet18.a2_in1k")
    build_rtmdet("nano", 1, pretrained=True)  # CSPNeXt: there is nothing to fetch
    assert len(asked) == 1


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no such host\ncheck your connection")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    message = refusal(RESNET, pretrained=True)
    assert "cannot be loaded (no such host check your connection): set model.backbone_pretrained=false" in message
    message = refusal("timm/selecsls42", pretrained=True)
    assert "timm's pretrained weights cannot be loaded (No pretrained weights exist" in message


class Trap:
    """Pickled, it makes a folder when it is loaded with code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_pretrained_weights_never_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where timm, as some versions do, asks torch for a full pickle."""
    torch.save(Trap(tmp_path / "trap"), tmp_path / "weights.pth")

    def read(*_: object, **__: object) -> object:
        return torch.load(tmp_path / "weights.pth", weights_only=False)

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", read)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    assert "Weights only load failed" in refusal(RESNET, pretrained=True)
    assert not (tmp_path / "trap").exists()
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "0"


def test_models_of_cspnext_do_not_import_timm() -> None:
    code = (
        "import sys; from rtmdet.models.rtmdet import build_rtmdet; build_rtmdet('nano', 1); "
        "sys.exit('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_initialization_follows_the_seed() -> None:
    def weights() -> np.ndarray:
        torch.manual_seed(3)
        model = build_rtmdet("nano", 1, backbone=SMALL)
        assert isinstance(model.backbone, TimmBackbone)
        return torch.cat([parameter.flatten() for parameter in model.parameters()]).detach().numpy()

    np.testing.assert_array_equal(weights(), weights())


@pytest.mark.parametrize(("name", "unused"), [("lcnet_050", False), ("hrnet_w18_small", True)])
def test_what_serves_no_map_does_not_learn(name: str, unused: bool) -> None:
    """Joined processes wait for the gradient of every parameter that can have one."""
    model = build_rtmdet("nano", 1, backbone=f"timm/{name}")
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    frozen = freeze_unused(model.backbone)
    assert bool(frozen) is unused
    model.train()
    outputs = model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    sum(level.sum() for group in outputs for level in group).backward()
    without = {key for key, parameter in model.backbone.named_parameters() if parameter.grad is None}
    assert without == set(frozen)
    for key, value in before.items():
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(model.backbone.state_dict()[key], value), key
