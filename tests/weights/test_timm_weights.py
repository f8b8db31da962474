"""Local ImageNet weights into a timm backbone: by name, in order, and one line for what does not fit.

Files are made from a small timm model with random weights; nothing is fetched.
"""

import os
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.models.timm_backbone import TimmBackbone
from rtmdet.weights.timm import load_timm_weights

MODEL = "lcnet_050"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def published() -> State:
    """A whole classifier's state_dict, as timm publishes them, with values that no other model has."""
    torch.manual_seed(1)
    state = timm.create_model(MODEL).state_dict()
    return {name: torch.rand_like(value) if value.is_floating_point() else value + 7 for name, value in state.items()}


@pytest.fixture
def backbone() -> TimmBackbone:
    backbone = build_rtmdet("nano", 1, backbone=f"timm/{MODEL}").backbone
    assert isinstance(backbone, TimmBackbone)
    return backbone


def renamed(state: State) -> State:
    """Other names in the same order, as another library has them; the last part says the kind of a tensor."""
    return {f"_layer{number}.{name.rpartition('.')[2]}": value for number, (name, value) in enumerate(state.items())}


def without(state: State, *parts: str) -> State:
    return {name: value for name, value in state.items() if not name.startswith(parts)}


def load(backbone: TimmBackbone, state: object, folder: Path, name: str = "weights.pth") -> str:
    torch.save(state, folder / name)
    return load_timm_weights(backbone, folder / name)


def assert_holds(backbone: TimmBackbone, published: State) -> None:
    """Every tensor of the backbone is the published one of its name; counters do not matter."""
    state = backbone.features.state_dict()
    assert len(state) > 100
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, published[name]), name


@pytest.mark.parametrize(
    "left_out", [(), ("classifier",), ("classifier", "conv_head")], ids=["whole", "headless", "features"]
)
@pytest.mark.parametrize("names", ["timm", "other"])
def test_every_tensor_arrives(
    backbone: TimmBackbone, published: State, tmp_path: Path, left_out: tuple[str, ...], names: str
) -> None:
    state = without(published, *left_out) if left_out else published
    line = load(backbone, renamed(state) if names == "other" else state, tmp_path)
    assert_holds(backbone, published)
    how = "in the order of the file" if names == "other" else "by name"
    assert f"loaded into {backbone.name} {how}" in line


def test_wrapped_files_other_class_counts_and_missing_counters(
    backbone: TimmBackbone, published: State, tmp_path: Path
) -> None:
    """What files of other training runs differ in, by name and in order."""
    state = {name: value for name, value in published.items() if not name.endswith("num_batches_tracked")}
    state |= {"classifier.weight": torch.zeros(3, 1280), "classifier.bias": torch.zeros(3)}
    load(backbone, {"state_dict": state}, tmp_path)
    assert_holds(backbone, published)
    other = build_rtmdet("nano", 1, backbone=f"timm/{MODEL}").backbone
    assert isinstance(other, TimmBackbone)
    load(other, renamed(state), tmp_path)
    assert_holds(other, published)


def test_flattened_names_of_a_wrapper(tmp_path: Path) -> None:
    """timm's own wrapper calls stages.0 stages_0."""
    torch.manual_seed(2)
    model = timm.create_model("mambaout_femto")
    backbone = build_rtmdet("nano", 1, backbone="timm/mambaout_femto").backbone
    assert isinstance(backbone, TimmBackbone)
    assert "by name" in load(backbone, model.state_dict(), tmp_path)
    state = backbone.features.state_dict()
    assert torch.equal(state["stages_0.blocks.0.fc1.weight"], model.state_dict()["stages.0.blocks.0.fc1.weight"])


def test_safetensors_load_by_name_only(backbone: TimmBackbone, published: State, tmp_path: Path) -> None:
    """Such files keep no order, so an order is nothing to go by."""
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(published, path)
    assert "by name" in load_timm_weights(backbone, path)
    assert_holds(backbone, published)
    same_kind = {f"{number:04}.weight": value for number, value in enumerate(published.values())}
    safetensors.torch.save_file(same_kind, path)
    with pytest.raises(InputError, match=r"weights\.safetensors: expected "):
        load_timm_weights(backbone, path)


def test_an_order_from_safetensors_is_not_trusted(tmp_path: Path) -> None:
    """Even where it agrees by chance: a model of one kind of tensors sorts into its own order."""
    torch.manual_seed(2)
    backbone = build_rtmdet("nano", 1, backbone=f"timm/{MODEL}").backbone
    assert isinstance(backbone, TimmBackbone)
    state = {name: value for name, value in timm.create_model(MODEL).state_dict().items() if "num_batch" not in name}
    ordered = {f"{number:04}.{name.rpartition('.')[2]}": value for number, (name, value) in enumerate(state.items())}
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(ordered, path)
    with pytest.raises(InputError, match="safetensors keep no order to go by"):
        load_timm_weights(backbone, path)


def broken(published: State, fault: str) -> State:
    """The published file with one fault."""
    state = renamed(published)
    names = list(state)
    if fault == "shape":
        state[names[6]] = state[names[6]][:, :, :2]
    elif fault == "kind":  # the bias before the weight, of one shape
        order = [0, 2, 1, *range(3, len(names))]
        return {names[k]: state[names[k]] for k in order}
    elif fault == "short":
        return {name: state[name] for name in names[:30]}
    elif fault == "long":
        state["more.weight"] = torch.zeros(2)
    elif fault == "nan":
        state[names[0]] = torch.full_like(state[names[0]], torch.nan)
    elif fault == "integers":
        return published | {"conv_stem.weight": published["conv_stem.weight"].to(torch.int64)}
    elif fault == "name":
        return {name.replace("blocks.0.0.", "blocks.0.00."): value for name, value in published.items()} | {
            "blocks.0.0.conv_dw.weight": torch.zeros(3)
        }
    elif fault == "detector":
        return {f"backbone.features.{name}": value for name, value in published.items()} | {
            "bbox_head.rtm_cls.0.bias": torch.zeros(1)
        }
    return state


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", "in order the first 5 agree; then the file has _layer6.weight "),
        ("kind", "in order the first 1 agree; then the file has _layer2.bias (8,), the model bn1.weight (8,): "),
        ("short", "in order the first 25 agree; then the file has nothing more, the model blocks."),
        ("long", "then the file has more.weight (2,), the model nothing more: "),
        ("nan", "expected finite floating-point weights, found NaN or inf in conv_stem.weight"),
        ("integers", "expected finite floating-point weights, found int64 in conv_stem.weight"),
        ("name", "of the 148 tensors have its names, and in order the first "),
        ("detector", "found a whole detector: give it as model.weights"),
    ],
)
def test_what_does_not_fit_is_one_line_and_changes_nothing(
    backbone: TimmBackbone, published: State, tmp_path: Path, fault: str, message: str
) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load(backbone, broken(published, fault), tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'weights.pth'}: expected ")
    assert message in text
    assert len(text.splitlines()) == 1
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_another_model_is_named(backbone: TimmBackbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the weights of timm/lcnet_050\.\w+: \d+ of the 210 tensors"):
        load(backbone, timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path)


class Trap:
    """Pickled, it makes a folder when it is loaded with code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_file_never_runs_code(backbone: TimmBackbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights\.pth"):
        load(backbone, {"conv_stem.weight": Trap(tmp_path / "trap")}, tmp_path)
    assert not (tmp_path / "trap").exists()
    with pytest.raises(InputError, match=r"gone\.pth"):
        load_timm_weights(backbone, tmp_path / "gone.pth")
