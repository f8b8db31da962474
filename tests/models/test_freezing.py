"""Freezing by name: exactly what a pattern names stands still, batch norms included."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rtmdet.core.errors import InputError
from rtmdet.models.freezing import batch_norms, freeze
from rtmdet.models.rtmdet import build_rtmdet


def frozen_names(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}


def norm_names(model: nn.Module, frozen: list[nn.Module]) -> set[str]:
    return {name for name, layer in model.named_modules() if any(layer is other for other in frozen)}


@pytest.mark.parametrize("pattern", ["neck", "neck.*", "n?ck", "[mn]eck.*"])
def test_a_module_and_all_below(pattern: str) -> None:
    model = build_rtmdet("nano", 1)
    frozen = freeze(model, [pattern])
    assert frozen_names(model) == {name for name, _ in model.named_parameters() if name.startswith("neck.")}
    expected = {name for name, m in model.named_modules() if isinstance(m, _BatchNorm) and name.startswith("neck.")}
    assert expected
    assert norm_names(model, frozen) == expected


def test_names_are_whole() -> None:
    """`stage1` is not the beginning of another name, and a tail alone is no name."""
    model = nn.ModuleDict({"stage1": nn.Linear(2, 2), "stage10": nn.Linear(2, 2)})
    assert freeze(model, ["stage1"]) == []
    assert frozen_names(model) == {"stage1.weight", "stage1.bias"}
    with pytest.raises(InputError, match="'weight' matches no parameter"):
        freeze(model, ["weight"])


def test_several_patterns_and_single_parameters() -> None:
    model = build_rtmdet("nano", 1)
    frozen = freeze(model, ["backbone.stage?", "bbox_head.rtm_cls.0.bias", "neck.*.bn.weight"])
    names = frozen_names(model)
    assert "bbox_head.rtm_cls.0.bias" in names
    assert "bbox_head.rtm_cls.0.weight" not in names
    assert {name.split(".")[1] for name in names if name.startswith("backbone.")} == {
        "stage1", "stage2", "stage3", "stage4",
    }  # fmt: skip
    assert all(name.endswith("bn.weight") for name in names if name.startswith("neck."))
    assert any(name.startswith("neck.") for name in names)
    assert all(name.startswith("backbone.stage") for name in norm_names(model, frozen)), "half frozen norms learn"


def test_a_shared_parameter_is_frozen_by_any_of_its_names() -> None:
    model = build_rtmdet("tiny", 1)
    frozen = freeze(model, ["bbox_head.cls_convs.2"])
    names = frozen_names(model)
    assert {f"bbox_head.cls_convs.{level}.0.conv.weight" for level in range(3)} <= names
    assert "bbox_head.cls_convs.2.1.bn.bias" in names
    assert "bbox_head.cls_convs.0.1.bn.bias" not in names
    assert norm_names(model, frozen) == {"bbox_head.cls_convs.2.0.bn", "bbox_head.cls_convs.2.1.bn"}


def test_frozen_parts_stand_still_while_the_rest_learns() -> None:
    torch.manual_seed(0)
    model = build_rtmdet("nano", 1)
    frozen = freeze(model, ["backbone", "neck.out_convs"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    for norm in frozen:
        norm.eval()
    outputs = model(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    sum(y.square().sum() for y in [*outputs.logits, *outputs.distances]).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if name.startswith(("backbone.", "neck.out_convs."))]
    assert "bbox_head.rtm_cls.0.bias" in changed
    assert any(name.startswith("neck.") and name.endswith("running_mean") for name in changed)


def test_timm_backbones_and_all_kinds_of_batch_norm() -> None:
    model = build_rtmdet("nano", 1, backbone="timm/lcnet_050")
    norms = [layer for layer in model.backbone.modules() if isinstance(layer, _BatchNorm)]
    assert any(type(layer) is not nn.BatchNorm2d for layer in norms)
    assert set(freeze(model, ["backbone.features.*"])) == set(norms)
    plain = nn.SyncBatchNorm.convert_sync_batchnorm(build_rtmdet("nano", 1))
    frozen = freeze(plain, ["backbone.stem"])
    assert [type(layer) for layer in frozen] == [nn.SyncBatchNorm] * 3


def test_norms_without_parameters_are_nobodys() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 1, 1))
    assert freeze(model, ["0"]) == []


def test_nothing_to_freeze() -> None:
    model = build_rtmdet("nano", 1)
    assert freeze(model, []) == []
    assert frozen_names(model) == set()


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("neck.reduce_layer.*", "nearest: neck.reduce_layers, "),
        ("backbone.stage5", "nearest: backbone.stage4, "),
        ("xyz", "the model has backbone, neck, bbox_head"),
        ("", "the model has backbone, neck, bbox_head"),
        ("Neck", "nearest: neck"),
        ("neck.upsample", "nearest: "),  # a module without parameters
    ],
)
def test_a_pattern_that_names_nothing(pattern: str, hint: str) -> None:
    model = build_rtmdet("nano", 1)
    with pytest.raises(InputError) as caught:
        freeze(model, ["backbone.stem", pattern])
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert f"{pattern!r} matches no parameter or module: " in message
    assert hint in message


def test_everything_frozen_is_refused() -> None:
    for patterns in (["*"], ["backbone", "neck", "bbox_head"]):
        with pytest.raises(InputError, match="leave nothing to train: freeze less") as caught:
            freeze(build_rtmdet("nano", 1), patterns)
        assert ", ".join(patterns) in str(caught.value)


def test_batch_norms_are_all_of_them() -> None:
    model = build_rtmdet("nano", 1)
    expected = {name for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}
    assert norm_names(model, batch_norms(model)) == expected != set()
