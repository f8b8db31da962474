"""Reductions of feature maps and the heat maps drawn of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from rtmdet.core.letterbox import letterbox
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.viz.feature_maps import select_max, squeeze_mean, top_channels
from rtmdet.viz.heatmap import brighten, crop_padding, heat_map, on_picture, overlay, unit_range
from rtmdet.viz.hooks import capture
from rtmdet.weights.load import load_weights, read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden" / "boxam_nano_person.npz"

# Three channels of 2 x 2 with the sums 4, 10 and 6; the greatest single value is in the first.
MAPS = torch.tensor([[[9.0, -5], [0, 0]], [[1, 2], [3, 4]], [[0, 6], [0, 0]]])


def test_reductions_by_hand() -> None:
    assert torch.allclose(squeeze_mean(MAPS), torch.tensor([[10 / 3, 1], [1, 4 / 3]]))
    assert torch.equal(select_max(MAPS), MAPS[1])
    assert [channel for channel, _ in top_channels(MAPS, 2)] == [1, 2]
    assert torch.equal(top_channels(MAPS, 2)[1][1], MAPS[2])


def test_more_channels_than_there_are() -> None:
    assert [channel for channel, _ in top_channels(MAPS, 9)] == [1, 2, 0]


def test_heat_map_runs_from_blue_to_red() -> None:
    colors = heat_map(np.array([[-3.0, 5.0]]), (1, 2))
    assert colors.dtype == np.uint8
    assert colors[0, 0].tolist() == [0, 0, 128]  # the ends of JET, as RGB
    assert colors[0, 1].tolist()[0] >= 128
    assert colors[0, 1].tolist()[1:] == [0, 0]
    assert heat_map(np.zeros((2, 3)), (20, 30)).shape == (20, 30, 3)


def test_a_constant_map_is_one_color() -> None:
    assert np.unique(heat_map(np.full((4, 4), 7.0), (8, 8)).reshape(-1, 3), axis=0).tolist() == [[0, 0, 128]]
    assert (unit_range(np.full((2, 2), -1.0)) == 0).all()


def test_padding_is_cut_at_the_pixel() -> None:
    ramp = np.arange(8, dtype=np.float32)[None].repeat(8, 0)  # cells of 8 pixels
    cropped = crop_padding(ramp, (64, 13), (64, 64))
    assert cropped.shape == (64, 13)
    # cell c is centered on pixel 8 c + 3.5: the last kept pixel lies within the second cell
    assert cropped[0, 12] == pytest.approx((12 - 3.5) / 8)


@pytest.mark.parametrize("picture", [(100, 200), (200, 100)])
def test_heat_stays_where_the_object_is(picture: tuple[int, int]) -> None:
    heat = np.zeros((16, 16), np.float32)
    content = (8, 16) if picture[0] < picture[1] else (16, 8)
    heat[content[0] - 2 : content[0], content[1] - 2 : content[1]] = 1  # the content's lower right corner
    drawn = on_picture(heat, picture, (64, 64))
    assert drawn.shape == picture
    assert drawn[-1, -1] > 0.2
    assert drawn[: picture[0] // 2].max() == 0
    center = np.argwhere(drawn > 0.5).mean(0) / picture
    assert np.allclose(center, [1 - 1 / content[0], 1 - 1 / content[1]], atol=0.03)


def test_overlay_mixes_and_leaves_its_inputs() -> None:
    image, colors = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert (overlay(image, colors) == 150).all()
    assert (overlay(image, colors, alpha=0.25) == 125).all()
    assert (brighten(np.array([[[0, 60, 120]]], np.uint8)) == [0, 127, 255]).all()
    assert (brighten(np.zeros((1, 1, 3), np.uint8)) == 0).all()
    assert (image == 100).all()


@pytest.fixture(scope="module")
def real_maps(shared: Path) -> dict[str, list[Tensor]]:
    """Backbone's and neck's maps of the reference's photo under its trained weights."""
    model = build_rtmdet("nano", 1).eval()
    load_weights(model, read_checkpoint(shared / "weights" / "rtmdet_nano_person.pth"))
    photo = cv2.imread(str(shared / "data" / "balloon" / "val" / "4838031651_3e7b5ea5c7_b.jpg"))
    canvas, _ = letterbox(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), (640, 640))
    with capture(model, ["backbone", "neck"]) as outputs, torch.no_grad():
        model(torch.from_numpy(canvas).permute(2, 0, 1)[None])
    return outputs


@pytest.mark.shared
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("layer", ["backbone", "neck"])
@pytest.mark.parametrize("reduce", [squeeze_mean, select_max])
def test_reductions_equal_the_reference(
    real_maps: dict[str, list[Tensor]], layer: str, level: int, reduce: Callable[[Tensor], Tensor]
) -> None:
    expected = np.load(GOLDEN)[f"feat_{layer}{level}_{reduce.__name__}"]
    found = reduce(real_maps[layer][level][0]).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.shared
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("layer", ["backbone", "neck"])
def test_top_channels_equal_the_reference(real_maps: dict[str, list[Tensor]], layer: str, level: int) -> None:
    expected = np.load(GOLDEN)[f"feat_{layer}{level}_top4"].tolist()
    assert [channel for channel, _ in top_channels(real_maps[layer][level][0], 4)] == expected
