"""NMS: torchvision's results, without importing torchvision, and only as much of it as the best boxes need."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms as reference

from rtmdet.core.arrays import keep_best
from rtmdet.core.errors import InputError
from rtmdet.core.postprocess import _load_operator, batched_nms


def crowd(boxes: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Overlapping boxes with many equal scores."""
    rng = torch.Generator().manual_seed(boxes + classes)
    corners = torch.rand(boxes, 2, generator=rng) * 100
    sides = torch.rand(boxes, 2, generator=rng) * 40 + 10
    scores = (torch.rand(boxes, generator=rng) * 50).round() / 50
    return torch.cat([corners, corners + sides], 1), scores, torch.randint(classes, (boxes,), generator=rng)


@pytest.mark.parametrize("boxes", [0, 1, 300, 2500])
@pytest.mark.parametrize("classes", [1, 7])
def test_keeps_what_torchvision_keeps(boxes: int, classes: int) -> None:
    found = crowd(boxes, classes)
    assert batched_nms(*found, 0.5).sort().values.tolist() == reference(*found, 0.5).sort().values.tolist()


def test_a_torchvision_of_another_build_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one for CUDA beside a torch for the CPU: it has no operators, and its own start fails."""

    def fails(_: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("rtmdet.core.postprocess.find_spec", lambda _: None)
    monkeypatch.setattr("rtmdet.core.postprocess.import_module", fails)
    monkeypatch.setattr(torch.ops, "torchvision", None)
    with pytest.raises(InputError, match=r"\Atorchvision does not fit torch \S+ \(.*nms does not exist\): install"):
        _load_operator.__wrapped__()


def test_torchvision_is_not_imported() -> None:
    """Only its library is loaded; where that fails, the import of the package would hide it."""
    text = "import torch, sys; from rtmdet.core.postprocess import batched_nms; one = torch.ones(1); "
    text += "batched_nms(one.expand(1, 4), one, one.long(), 0.5); sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0


@pytest.mark.parametrize("most", [1, 40, 2000])
def test_the_best_boxes_do_not_depend_on_those_after_them(most: int) -> None:
    boxes, scores, labels = crowd(2500, 3)
    asked = []

    def suppress(order: Tensor) -> Tensor:
        asked.append(len(order))
        return order[batched_nms(boxes[order], scores[order], labels[order], 0.5).sort().values]

    order = scores.sort(descending=True, stable=True).indices
    whole = suppress(order)[:most]
    asked.clear()
    assert keep_best(order, most, suppress).tolist() == whole.tolist()
    assert asked[0] == min(4 * most, 2500)
    assert most > 1 or len(asked) == 1


def test_asks_for_more_until_enough_are_kept() -> None:
    asked = []

    def keep_every_tenth(order: np.ndarray) -> np.ndarray:
        asked.append(len(order))
        return order[::10]

    assert keep_best(np.arange(1000), 20, keep_every_tenth).tolist() == list(range(0, 200, 10))
    assert asked == [80, 320]
