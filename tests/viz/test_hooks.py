"""Layers by name, and what their hooks record and leave behind."""

import pytest
import torch
from torch import Tensor, nn

from rtmdet.core.errors import InputError
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.viz.hooks import capture, find_layer, layer_names, parse_layer_name

IMAGES = torch.arange(3 * 64 * 64, dtype=torch.uint8).reshape(1, 3, 64, 64)


@pytest.fixture(scope="module")
def model() -> RTMDet:
    torch.manual_seed(0)
    return build_rtmdet("nano", 1).eval()


def hook_count(model: nn.Module) -> int:
    return sum(len(layer._forward_hooks) for layer in model.modules())


@pytest.mark.parametrize("name", ["neck.out_convs[0]", "neck.out_convs.0"])
def test_both_notations_are_one_path(name: str, model: RTMDet) -> None:
    assert parse_layer_name(name) == ("neck", "out_convs", 0)
    assert find_layer(model, name) is model.neck.out_convs[0]


@pytest.mark.parametrize("name", ["", "neck.", ".neck", "[0]", "a[b]", "a[-1]", "a[0", "a b", "a()", "a[0]b", "a\n"])
def test_what_is_no_path_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="not a module path"):
        parse_layer_name(name)


def test_names_are_never_evaluated(model: RTMDet) -> None:
    with pytest.raises(InputError, match="not a module path"):
        find_layer(model, "__import__('os').abort()")


def test_every_listed_name_finds_its_layer(model: RTMDet) -> None:
    names = layer_names(model)
    assert {"backbone", "backbone.stem[0].conv", "neck.out_convs[2]", "bbox_head.rtm_cls[1]"} < set(names)
    assert "neck.out_convs" not in names  # a list, nothing passes through it
    assert all(isinstance(find_layer(model, name), nn.Module) for name in names)


def test_an_unknown_layer_lists_near_names(model: RTMDet) -> None:
    with pytest.raises(InputError, match=r"layer 'stem' does not exist: did you mean backbone\.stem\?"):
        find_layer(model, "stem")
    with pytest.raises(InputError, match=r"'neck.out_conv\[0\]' does not exist: did you mean neck\.out_convs\[0\]"):
        find_layer(model, "neck.out_conv[0]")


def test_a_list_of_layers_is_refused_with_its_members(model: RTMDet) -> None:
    with pytest.raises(InputError, match=r"list of layers.*neck\.out_convs\[\d\]"):
        find_layer(model, "neck.out_convs")


def test_outputs_of_tuples_are_flattened(model: RTMDet) -> None:
    with capture(model, ["backbone", "bbox_head", "neck.out_convs[0]"]) as outputs, torch.no_grad():
        dense = model(IMAGES)
    assert [tuple(map.shape) for map in outputs["backbone"]] == [(1, 64, 8, 8), (1, 128, 4, 4), (1, 256, 2, 2)]
    assert len(outputs["neck.out_convs[0]"]) == 1
    expected = [*dense.logits, *dense.distances]
    assert len(outputs["bbox_head"]) == 6
    assert all(torch.equal(a, b) for a, b in zip(outputs["bbox_head"], expected, strict=True))


def test_a_layer_run_twice_gives_both_outputs(model: RTMDet) -> None:
    with capture(model, ["neck.upsample"]) as outputs, torch.no_grad():
        model(IMAGES)
    assert [map.shape[-1] for map in outputs["neck.upsample"]] == [4, 8]


def test_outputs_are_detached_copies() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True))
    nn.init.constant_(model[0].weight, -1)
    nn.init.zeros_(model[0].bias)
    wrapped = nn.ModuleDict({"block": model})
    with capture(wrapped, ["block[0]"]) as outputs:
        model(torch.ones(1, 1, 2, 2))
    (output,) = outputs["block[0]"]
    assert not output.requires_grad
    assert torch.equal(output, -torch.ones(1, 1, 2, 2))  # before the in-place activation


class Failing(nn.Module):
    """Its second layer raises."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        self.first(x)
        raise RuntimeError("forward failed")


def test_hooks_are_removed_when_forward_raises() -> None:
    model = Failing()
    with pytest.raises(RuntimeError, match="forward failed"), capture(model, ["first"]) as outputs:
        model(torch.ones(1))
    assert len(outputs["first"]) == 1
    assert hook_count(model) == 0


def test_no_hook_stays_after_an_unknown_name(model: RTMDet) -> None:
    with pytest.raises(InputError), capture(model, ["neck", "nack"]):
        pass
    with capture(model, ["neck"]):
        assert hook_count(model) == 1
    assert hook_count(model) == 0
