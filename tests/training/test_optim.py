"""AdamW's groups name by name, and the learning rate of every iteration."""

import json
import re
import warnings

import numpy as np
import pytest
import torch
from golden import adapter, reference
from torch import nn

from rtmdet.config.schema import Config, DataConfig, SplitConfig, TrainingConfig
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.runs.build import base_learning_rate
from rtmdet.training.optim import build_optimizer, learning_rates, parameter_groups

SCHEDULES = reference.load("schedules")
CURVES = [key for key in SCHEDULES if key.startswith("lr_")]
RULES = reference.compare_module()


class Small(nn.Module):
    """A convolution that stands under two names, a norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = self.first
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(4, 2)


def names_of(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)] for parameter in parameters}


def groups_of(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that decay and those that do not."""
    decaying, other = build_optimizer(model, learning_rate=0.004, weight_decay=0.05).param_groups
    assert (decaying["weight_decay"], other["weight_decay"]) == (0.05, 0)
    return decaying["params"], other["params"]


def cosine_of_torch(epochs: int, iterations: int, *, base: float, begin: int, length: int) -> list[float]:
    """Flat up to iteration `begin`, then torch's own recursive cosine annealing."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length, eta_min=0.05 * base)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no optimizer step is made
        for t in range(epochs * iterations):
            if t > begin:
                schedule.step()
            rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_groups_are_the_reference_name_by_name() -> None:
    rows = json.loads((reference.HERE / "param_groups_tiny.json").read_text())
    with torch.device("meta"):
        model = build_rtmdet("tiny", 80)
    shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    assert shapes == {name: shape for name, shape, _, _ in rows}
    decaying, other = groups_of(model)
    assert names_of(model, decaying) == {name for name, _, decay, _ in rows if decay == 0.05}
    assert names_of(model, other) == {name for name, _, decay, _ in rows if decay == 0}
    assert (len(decaying), len(other)) == (78, 162)
    assert sum(p.numel() for p in decaying) == 4_877_388
    assert sum(p.numel() for p in other) == 18_780


def test_counts_of_size_s() -> None:
    with torch.device("meta"):
        decaying, other = groups_of(build_rtmdet("s", 80))
    assert (len(decaying), len(other)) == (84, 174)
    assert (sum(p.numel() for p in decaying), sum(p.numel() for p in other)) == (8_860_816, 26_108)


def test_optimizer_is_adamw_as_published() -> None:
    optimizer = build_optimizer(Small(), learning_rate=0.004, weight_decay=0.05)
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert group["betas"] == (0.9, 0.999)
        assert group["eps"] == 1e-8
        assert group["lr"] == 0.004
        assert not group["amsgrad"]


def test_shared_parameters_stand_once_and_frozen_ones_nowhere() -> None:
    model = Small()
    model.last.weight.requires_grad_(False)
    model.norm.requires_grad_(False)
    decaying, other = parameter_groups(model, 0.1)
    assert names_of(model, decaying["params"]) == {"first.weight"}  # type: ignore[arg-type]
    assert names_of(model, other["params"]) == {"first.bias", "last.bias"}  # type: ignore[arg-type]
    assert len(decaying["params"]) + len(other["params"]) == 3  # type: ignore[arg-type]


def test_weights_of_linear_layers_decay() -> None:
    decaying, other = groups_of(model := Small())
    assert names_of(model, decaying) == {"first.weight", "last.weight"}
    assert names_of(model, other) == {"first.bias", "norm.weight", "norm.bias", "last.bias"}


@pytest.mark.parametrize("key", CURVES)
def test_learning_rates_are_the_reference(key: str) -> None:
    match = re.fullmatch(r"lr_e(\d+)_i(\d+)_lr([\d.]+)_wu(\d+)", key)
    assert match
    epochs, iterations, base, warmup = match.groups()
    found = learning_rates(epochs=int(epochs), iterations=int(iterations), base=float(base), warmup=int(warmup))
    np.testing.assert_allclose(found, SCHEDULES[key], rtol=1e-12)


@pytest.mark.parametrize(("epochs", "iterations"), [(3, 8), (7, 5), (31, 3)])
def test_odd_epochs_pass_the_minimum_and_climb_again(epochs: int, iterations: int) -> None:
    """The cosine is epochs // 2 long and begins there, so one epoch is left over."""
    half = epochs // 2 * iterations
    found = learning_rates(epochs=epochs, iterations=iterations, base=0.004, warmup=0)
    expected = cosine_of_torch(epochs, iterations, base=0.004, begin=half, length=half)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert int(found.argmin()) == 2 * half
    assert found.min() == pytest.approx(0.05 * 0.004)
    assert found[-1] > 1.01 * found.min()


@pytest.mark.parametrize(("epochs", "start"), [(10, 0), (10, 3), (9, 8)])
def test_a_chosen_start_ends_at_the_final_factor(epochs: int, start: int) -> None:
    found = learning_rates(epochs=epochs, iterations=50, base=0.01, warmup=0, cosine_start=start, final_factor=0.1)
    begin, length = start * 50, (epochs - start) * 50
    t = np.arange(epochs * 50)
    cosine = 0.001 + 0.009 * (1 + np.cos(np.pi * np.clip(t - begin, 0, None) / length)) / 2
    np.testing.assert_allclose(found, cosine, rtol=1e-9)
    assert (np.diff(found) <= 0).all(), "it never climbs"


def test_warmup_is_linear_from_its_start_and_reaches_the_base() -> None:
    found = learning_rates(epochs=100, iterations=10, base=0.004, warmup=101, warmup_start=0.01)
    np.testing.assert_allclose(found[:101], 0.004 * np.linspace(0.01, 1, 101), rtol=1e-9)
    np.testing.assert_allclose(found[100:501], 0.004)
    assert learning_rates(epochs=4, iterations=10, base=0.004)[0] == pytest.approx(0.004 * 1e-5)


@pytest.mark.parametrize("warmup", [0, 1])
def test_no_warmup_begins_at_the_base(warmup: int) -> None:
    assert (learning_rates(epochs=4, iterations=5, base=0.004, warmup=warmup)[:10] == 0.004).all()


def test_a_single_epoch_is_all_cosine() -> None:
    """As in mmengine, where a length of no epochs counts as the rest of the run."""
    found = learning_rates(epochs=1, iterations=20, base=0.004, warmup=0)
    np.testing.assert_allclose(found, cosine_of_torch(1, 20, base=0.004, begin=0, length=20), rtol=1e-9)


@pytest.mark.parametrize(("images", "scaled"), [(32, 0.0005), (128, 0.002), (256, 0.004)])
def test_rates_scale_with_the_batch(images: int, scaled: float) -> None:
    split = SplitConfig("a.json", "a")
    config = Config(DataConfig(split, split, batch_size=images), train=TrainingConfig(scale_learning_rate=True))
    assert base_learning_rate(config) == pytest.approx(scaled)


@pytest.mark.slow
def test_weights_after_five_steps_are_the_reference() -> None:
    """Network in float64, loss in float32: every learned tensor that the reference sampled."""
    golden = reference.load("train5_tiny_1c")
    model = build_rtmdet(str(golden["size"]), int(golden["num_classes"]))
    model = RULES.load_weights(model, int(golden["weight_seed"])).double().train()
    optimizer = build_optimizer(model, learning_rate=float(golden["lr"]), weight_decay=0.05)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == golden["n_groups"]
    size = int(golden["img_h"]), int(golden["img_w"])
    drawn = [(RULES.shapes_img, RULES.noisy_img)[i % 2](*size, int(s)) for i, s in enumerate(golden["img_seeds"])]
    images = RULES.to_input(*drawn).double()
    boxes, labels = (
        [torch.from_numpy(golden[f"{key}{b}"]) for b in range(len(images))] for key in ("gt_bboxes", "gt_labels")
    )
    for _ in golden["loss_cls"]:
        classification, box = adapter.train_loss(model, images, boxes, labels)
        optimizer.zero_grad()
        (classification + box).backward()
        optimizer.step()
    state = model.state_dict()
    samples = [key.removesuffix("_step") for key in golden if key.startswith("after.") and key.endswith("_step")]
    assert len(samples) >= 6
    for key in samples:
        found = state[key.removeprefix("after.")].flatten()[:: int(golden[f"{key}_step"])].numpy()
        assert np.abs(found - golden[key]).max() <= 1e-5, key  # a step is up to 5e-4 a weight


def test_the_class_layers_can_learn_faster() -> None:
    model = Small()
    optimizer = build_optimizer(
        model, learning_rate=0.1, weight_decay=0.05, faster=model.last.parameters(), factor=3.0
    )
    found = {
        name: (group["weight_decay"], group.get("rate_factor", 1.0))
        for group in optimizer.param_groups
        for name in names_of(model, group["params"])
    }
    assert found == {
        "first.weight": (0.05, 1.0),
        "first.bias": (0.0, 1.0),
        "norm.weight": (0.0, 1.0),
        "norm.bias": (0.0, 1.0),
        "last.weight": (0.05, 3.0),
        "last.bias": (0.0, 3.0),
    }


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_number_of_groups_does_not_depend_on_the_factor(factor: float) -> None:
    """A resumed run may change it: the state of an optimizer fits groups of the same number only."""
    model = Small()
    optimizer = build_optimizer(
        model, learning_rate=0.1, weight_decay=0.05, faster=model.last.parameters(), factor=factor
    )
    assert [group.get("rate_factor") for group in optimizer.param_groups] == [None, factor, None, factor]
