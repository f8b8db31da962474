"""Layouts of checkpoints that other programs write, tensors that cannot be used, and whom the message blames."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.detector import Detector
from rtmdet.models import layers
from rtmdet.models.folding import fold_batch_norms
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.weights.load import load_weights, read_checkpoint

State = dict[str, Tensor]
STATISTICS = {"state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return dict(build_rtmdet("nano", 2).state_dict())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.pth"


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        Detector(path, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("entry", ["model_state_dict", "model", "ema", "weights", "ema_state_dict"])
def test_the_usual_entries_are_taken_and_named(
    path: Path, state: State, entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"epoch": 1, entry: state, "optimizer_state_dict": STATISTICS}, path)
    report = load_weights(build_rtmdet("nano", 2), read_checkpoint(path))
    assert report.summary == f"a.pth, entry {entry}: weights loaded completely (698 tensors)"
    assert Detector(path, device="cpu").classes == ("class 0", "class 1")
    assert capsys.readouterr().err == f"{path}: the weights are those of its entry {entry}\n"


def test_state_dict_is_taken_before_other_entries(path: Path, state: State) -> None:
    other = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"model": other, "weights": {"a": 1}, "state_dict": state}, path)
    weights = read_checkpoint(path)
    assert weights.file == "a.pth"
    assert all(torch.equal(tensor, state[name]) for name, tensor in weights.tensors.items())


def test_entries_of_other_names_are_listed(path: Path, state: State) -> None:
    torch.save({"optimizer": STATISTICS, "net": state, "critic": {"fc.weight": torch.zeros(1)}, "model": {}}, path)
    assert refusal(path) == (
        "expected weights under state_dict, found tensors under net, critic: save those of the detector alone, or "
        "under state_dict"
    )


def test_one_prefix_of_all_tensors_is_left_out(path: Path, state: State) -> None:
    """As of a LightningModule with the detector as `model`; two, or other tensors beside it, are not understood."""
    for prefix in ("model.", "model._orig_mod."):
        torch.save({"epoch": 1, "state_dict": prefixed(state, prefix), "loops": {}}, path)
        assert read_checkpoint(path).tensors.keys() == state.keys()
    for beside in (prefixed(state, "teacher."), {"criterion.weight": torch.zeros(2)}):
        torch.save({"state_dict": prefixed(state, "model.") | beside}, path)
        assert "expected backbone., neck. and bbox_head.: save the state_dict of the detector alone" in refusal(path)


@pytest.mark.parametrize("backbone", [None, "timm/resnet18"])
def test_merged_batch_norms_are_named(path: Path, backbone: str | None) -> None:
    torch.save(fold_batch_norms(build_rtmdet("nano", 2, backbone=backbone)).state_dict(), path)
    assert refusal(path) == (
        "the batch norms of this detector are merged: open it with fold=False before you save its weights"
    )


class LargeKernelBlock(layers.CSPNeXtBlock):
    def __init__(self, channels: int, *, residual: bool, depthwise: bool) -> None:
        super().__init__(channels, residual=residual, depthwise=depthwise)
        self.conv2 = layers.DepthwiseSeparableConv(channels, channels, 7)


def test_layers_changed_in_the_program_may_be_why_published_weights_do_not_fit(
    path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(state, path)
    weights = read_checkpoint(path)
    other = {**state, "backbone.stage1.0.pointwise_conv.conv.weight": torch.zeros(1)}
    torch.save(other, path)
    assert refusal(path).endswith("expected one of them; give other weights")
    monkeypatch.setattr(layers, "CSPNeXtBlock", LargeKernelBlock)
    either = (
        ", or undo the change of layers in this program, where RTMDet-nano has 1009399 parameters instead of 994423 "
        "(docs/changing-the-method.md loads what still fits)"
    )
    assert refusal(path).endswith(f"expected one of them; give other weights{either}")
    with pytest.raises(InputError) as caught:
        load_weights(build_rtmdet("nano", 2), weights)
    assert str(caught.value).endswith(f"(128, 1, 7, 7); give weights of this network{either}")


def test_weights_of_changed_layers_ask_for_the_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(layers, "CSPNeXtBlock", LargeKernelBlock)
        Detector.from_model(build_rtmdet("nano", 1), ModelFacts(("a",), (64, 64)), "cpu").save(path)
    assert refusal(path).endswith(
        "give weights of this network, or make the change of layers that they were trained with"
    )
