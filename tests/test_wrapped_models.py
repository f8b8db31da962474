"""Models as torch wraps them, by torch.compile, averages and parallel training: the network inside is taken."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from lively import CLASSES, SIZE, assert_close, lively_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import rtmdet
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.detector import Detector
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.runs.weights_file import load_first_weights
from rtmdet.viz.hooks import capture, find_layer, layer_names
from rtmdet.weights.load import read_checkpoint

FACTS = ModelFacts(CLASSES, SIZE)
IMAGE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> RTMDet:
    return lively_model()


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one process, as DistributedDataParallel needs it."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def passes() -> list[int]:
    """The number of images of each pass through `compiled`."""
    return []


@pytest.fixture
def compiled(model: RTMDet, passes: list[int]) -> Iterator[nn.Module]:
    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        def run(*inputs: Tensor) -> object:
            passes.append(max(len(tensor) for tensor in inputs if tensor.dtype == torch.uint8))
            return graph(*inputs)

        return run

    yield torch.compile(model, backend=backend)
    torch.compiler.reset()


@pytest.mark.parametrize("wrap", [AveragedModel, nn.DataParallel, nn.parallel.DistributedDataParallel])
@pytest.mark.usefixtures("alone")
def test_the_model_inside_is_used_and_saved(
    tmp_path: Path, model: RTMDet, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    wrapped = wrap(model)
    detector = Detector.from_model(wrapped, FACTS, "cpu")
    assert_close(detector(IMAGE), Detector.from_model(model, FACTS, "cpu")(IMAGE))
    detector.save(tmp_path / "a.pth")
    torch.save(wrapped.state_dict(), tmp_path / "bare.pth")
    for name in ("a.pth", "bare.pth"):
        assert read_checkpoint(tmp_path / name).tensors.keys() == model.state_dict().keys()


def test_a_compiled_model_runs_compiled_and_is_saved(
    tmp_path: Path, model: RTMDet, compiled: nn.Module, passes: list[int]
) -> None:
    detector = Detector.from_model(compiled, FACTS, "cpu")
    expected = Detector.from_model(model, FACTS, "cpu")([IMAGE] * 4)
    for found, other in zip(detector([IMAGE] * 4), expected, strict=True):
        assert len(found) > 3
        assert_close(found, other)
    assert passes == [4]
    assert detector.model is model
    detector.save(tmp_path / "a.pth")
    assert torch.load(tmp_path / "a.pth", weights_only=True)["state_dict"].keys() == model.state_dict().keys()


def test_the_layers_of_a_compiled_model_are_seen(model: RTMDet, compiled: nn.Module, passes: list[int]) -> None:
    """Compiled code calls no hooks, so the network runs as written meanwhile."""
    detector = Detector.from_model(compiled, FACTS, "cpu")
    detector(IMAGE)
    assert layer_names(compiled) == layer_names(model)
    assert find_layer(compiled, "neck") is model.neck
    with capture(compiled, ["backbone"]) as maps:
        detector(IMAGE)
    assert [tensor.shape[1] for tensor in maps["backbone"]] == [64, 128, 256]
    assert list(rtmdet.draw_feature_maps(detector, IMAGE)) == ["neck"]
    assert passes == [1]


def test_first_weights_are_loaded_into_the_model_inside(tmp_path: Path, model: RTMDet) -> None:
    Detector.from_model(model, FACTS, "cpu").save(tmp_path / "a.pth")
    average = AveragedModel(build_rtmdet("nano", 3))
    load_first_weights(average, str(tmp_path / "a.pth"), CLASSES)  # type: ignore[arg-type]
    name = "backbone.stem.0.conv.weight"
    assert torch.equal(average.module.state_dict()[name], model.state_dict()[name])


@pytest.mark.parametrize(("other", "name"), [(nn.Conv2d(3, 3, 1), "Conv2d"), ("rtmdet-tiny-coco", "str")])
def test_other_models_are_named(other: object, name: str) -> None:
    with pytest.raises(InputError) as caught:
        Detector.from_model(other, FACTS, "cpu")  # type: ignore[arg-type]
    assert str(caught.value) == f"model: expected an RTMDet, found {name}: give one of build_rtmdet"
