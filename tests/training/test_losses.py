"""The two losses: the reference's values and gradients, and numbers worked out by hand.

Dimension legend: P priors, K classes.
"""

import math

import pytest
import torch
from golden import reference

from rtmdet.training.criterion import giou_loss, quality_focal_loss

GOLDEN = {key: torch.from_numpy(array) for key, array in reference.load("elements").items()}


def soft_targets() -> torch.Tensor:
    """(P, K): the score in the column of the label, 0 elsewhere; label K is background."""
    targets = torch.zeros_like(GOLDEN["qfl_pred"])
    rows = (GOLDEN["qfl_label"] < targets.shape[1]).nonzero().squeeze(1)
    targets[rows, GOLDEN["qfl_label"][rows]] = GOLDEN["qfl_score"][rows]
    return targets


def test_quality_focal_loss_is_the_reference() -> None:
    logits = GOLDEN["qfl_pred"].clone().requires_grad_()
    rows = quality_focal_loss(logits, soft_targets())
    torch.testing.assert_close(rows, GOLDEN["qfl_none"], rtol=1e-5, atol=1e-6)
    loss = (rows * GOLDEN["qfl_weight"]).sum() / GOLDEN["qfl_avg_factor"]
    assert loss.item() == pytest.approx(GOLDEN["qfl_loss"].item(), rel=1e-6)
    loss.backward()
    torch.testing.assert_close(logits.grad, GOLDEN["qfl_grad"], rtol=1e-4, atol=1e-6)


def test_giou_loss_is_the_reference() -> None:
    boxes = GOLDEN["giou_pred"].clone().requires_grad_()
    rows = giou_loss(boxes, GOLDEN["giou_target"])
    torch.testing.assert_close(rows, GOLDEN["giou_none"], rtol=1e-5, atol=1e-6)
    loss = GOLDEN["giou_loss_weight"] * (rows * GOLDEN["giou_weight"]).sum() / GOLDEN["giou_avg_factor"]
    assert loss.item() == pytest.approx(GOLDEN["giou_loss"].item(), rel=1e-6)
    loss.backward()
    torch.testing.assert_close(boxes.grad, GOLDEN["giou_grad"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("logit", "target", "loss"),
    [
        (0.0, 0.0, math.log(2) / 4),
        (0.0, 1.0, math.log(2) / 4),
        (0.0, 0.5, 0.0),  # the score is the target
        (math.log(3), 0.0, math.log(4) * 0.75**2),
        (-30.0, 0.0, 0.0),
    ],
)
def test_quality_focal_loss_by_hand(logit: float, target: float, loss: float) -> None:
    found = quality_focal_loss(torch.tensor([[logit, -40.0]]), torch.tensor([[target, 0.0]]))
    assert found.shape == (1,)
    assert found.item() == pytest.approx(loss, abs=1e-6)


def test_losses_keep_the_dimensions_before_the_last() -> None:
    assert quality_focal_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)).shape == (2, 3)
    assert quality_focal_loss(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)
    assert giou_loss(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


def test_extreme_logits_give_finite_numbers() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = quality_focal_loss(logits, torch.tensor([[0.0, 1.0]]))
    assert loss.item() == pytest.approx(2e4)
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_giou_loss_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]]).repeat(3, 1)
    targets = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 2.0], [3.0, 0.0, 5.0, 2.0]])
    assert giou_loss(boxes, targets).tolist() == pytest.approx([0, 0.5, 1.2])
