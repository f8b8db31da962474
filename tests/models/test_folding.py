"""Batch norms folded into convolutions: the same outputs, no norm left, the original untouched."""

import pytest
import torch
from torch import Tensor, nn

from rtmdet.core.structures import DenseOutputs
from rtmdet.models.folding import fold_batch_norms
from rtmdet.models.layers import ConvBNAct
from rtmdet.models.rtmdet import RTMDet, build_rtmdet


def with_statistics(size: str) -> RTMDet:
    """A model whose batch norms do something, each its own thing."""
    torch.manual_seed(0)
    model = build_rtmdet(size, 3).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert isinstance(layer.running_mean, Tensor)
                assert isinstance(layer.running_var, Tensor)
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.2, 0.5)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.1)
        for convolution in [*model.bbox_head.rtm_cls, *model.bbox_head.rtm_reg]:
            convolution.weight.normal_()
    return model


def worst_difference(a: DenseOutputs, b: DenseOutputs) -> float:
    """Largest difference of any output, relative to its level's largest value."""
    pairs = zip([*a.logits, *a.distances], [*b.logits, *b.distances], strict=True)
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in pairs)


def tower_weights(model: RTMDet) -> list[list[Tensor]]:
    """The convolution weights of the class branch, level by level."""
    towers = model.bbox_head.cls_convs
    return [[layer.conv.weight for layer in tower.modules() if isinstance(layer, ConvBNAct)] for tower in towers]


@pytest.mark.parametrize("size", ["nano", "tiny", "s"])
def test_folding_keeps_the_outputs(size: str) -> None:
    model = with_statistics(size)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        for dtype, limit in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
            model = model.to(dtype)
            before = model(images)
            assert worst_difference(fold_batch_norms(model)(images), before) < limit
            assert worst_difference(model(images), before) == 0, "the original stays as it was"


def test_no_norm_is_left() -> None:
    folded = fold_batch_norms(with_statistics("tiny"))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    convolutions = [layer.conv for layer in folded.modules() if isinstance(layer, ConvBNAct)]
    assert len(convolutions) == 76
    assert all(convolution.bias is not None for convolution in convolutions)


def test_shared_convolutions_become_one_a_level() -> None:
    model = with_statistics("tiny")
    weights = tower_weights(fold_batch_norms(model))
    assert len({id(weight) for tower in weights for weight in tower}) == 6
    assert not torch.equal(weights[0][0], weights[1][0])
    first, *others = tower_weights(model)
    assert all(a is b for tower in others for a, b in zip(first, tower, strict=True))


def test_a_model_in_training_mode_comes_back_in_evaluation_mode() -> None:
    model = with_statistics("nano").train()
    folded = fold_batch_norms(model)
    assert not folded.training
    assert all(layer.training for layer in model.modules())
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert worst_difference(folded(images), model.eval()(images)) < 1e-4
