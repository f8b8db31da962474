"""Batch-norm statistics: measured again without a change of the predictions, and their absence noticed."""

import copy

import pytest
import torch
from torch import Tensor, nn

from rtmdet.models.norm_statistics import agreement, lack_statistics, recalibrate, tracking_norms
from rtmdet.models.rtmdet import RTMDet, build_rtmdet


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (6, 3, 64, 96), dtype=torch.uint8, generator=generator)


@pytest.fixture
def model() -> RTMDet:
    """Random weights whose norms have scales, shifts and statistics unlike those of any image."""
    torch.manual_seed(0)
    model = build_rtmdet("nano", 2).eval()
    with torch.no_grad():
        for layer in tracking_norms(model):
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_(std=0.2)
            layer.running_mean.normal_(std=0.3)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.2, 2)  # type: ignore[union-attr]
    return model


def neck_maps(model: RTMDet) -> object:
    return lambda images: model.neck(model.backbone(model.normalize(images)))


def test_recalibration_changes_no_prediction(model: RTMDet, images: Tensor) -> None:
    model, images = model.double(), images
    expected = model(images)
    count = recalibrate(model, images.split(2))
    assert count == len(tracking_norms(model)) > 50
    for level, before in zip(
        (*model(images).logits, *model(images).distances), (*expected.logits, *expected.distances), strict=True
    ):
        torch.testing.assert_close(level, before, rtol=1e-9, atol=1e-9)
    assert not model.training


def test_recalibrated_statistics_are_those_of_the_images(model: RTMDet, images: Tensor) -> None:
    """A norm in training mode with momentum 1 takes over the statistics of a batch of all images."""
    recalibrate(model, images.split(2))
    stem = model.backbone.stem[0]
    inputs = stem.conv(model.normalize(images)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(stem.bn.running_mean, inputs.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stem.bn.running_var, inputs.var(1, unbiased=False), rtol=1e-4, atol=1e-5)


def test_training_mode_starts_from_the_function_of_evaluation_mode(model: RTMDet, images: Tensor) -> None:
    maps = neck_maps(model)
    before = agreement(model, maps, [images])  # type: ignore[arg-type]
    recalibrate(model, [images])
    after = agreement(model, maps, [images])  # type: ignore[arg-type]
    assert before < 0.9 < 0.999 < after <= 1 + 1e-6


def test_agreement_leaves_buffers_and_modes_alone(model: RTMDet, images: Tensor) -> None:
    model.train()
    model.backbone.eval()
    state = copy.deepcopy(model.state_dict())
    agreement(model, neck_maps(model), [images])  # type: ignore[arg-type]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert (model.training, model.backbone.training, model.neck.training) == (True, False, True)
    assert not model.backbone.stem[0].bn.training


def test_agreement_is_a_correlation_of_what_changes_within_channels(images: Tensor) -> None:
    """A norm whose batch has another mean than the running one moves whole channels: no disagreement."""
    layer = nn.BatchNorm2d(3).eval()
    with torch.no_grad():
        layer.running_mean.fill_(100)  # type: ignore[union-attr]
    assert agreement(layer, lambda x: [layer(x)], [images.float()]) == pytest.approx(1, abs=1e-4)
    layer.running_mean.zero_()  # type: ignore[union-attr]
    mixed = nn.Sequential(layer, nn.ReLU())  # cuts off what lies below 0: there the offset matters
    assert agreement(mixed, lambda x: [mixed(x)], [images.float()]) < 0.95


def test_missing_statistics_are_noticed(model: RTMDet) -> None:
    assert lack_statistics(build_rtmdet("nano", 1))
    assert not lack_statistics(model)
    assert not lack_statistics(nn.Conv2d(3, 3, 1)), "no norms at all"
    fresh = build_rtmdet("nano", 1)
    for layer in tracking_norms(fresh):
        layer.running_var += 1e-5  # type: ignore[operator]  # as exporting leaves it, which adds an epsilon
    assert lack_statistics(fresh)
    tracking_norms(fresh)[-1].running_mean[0] = 0.1  # type: ignore[index]
    assert not lack_statistics(fresh)


def test_norms_without_scale_and_without_statistics_stay(images: Tensor) -> None:
    plain = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    state = copy.deepcopy(plain.state_dict())
    assert recalibrate(plain, [images.float()]) == 0
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
