"""`rtmdet visualize`: the pictures it writes and the lines it answers with."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lively import CLASSES, SIZE, lively_model
from torch import Tensor, nn

import rtmdet
from rtmdet.api import visualizers
from rtmdet.cli import parser, visualize
from rtmdet.cli.main import main
from rtmdet.core.class_colors import class_colors
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.letterbox import letterbox
from rtmdet.core.nms import NmsSettings
from rtmdet.detector import Detector
from rtmdet.images.reading import read_image
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.viz import box_am, box_targets
from rtmdet.viz.box_targets import BoxTarget, class_score_target
from rtmdet.viz.feature_maps import REDUCTIONS, Tile, arrange, reduce_maps
from rtmdet.viz.heatmap import on_picture
from rtmdet.viz.hooks import capture
from rtmdet.weights.load import load_weights, read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden" / "boxam_nano_person.npz"
ANY = "--score=0"  # a fresh model scores 0.01 everywhere
# Three channels of 2 x 2 with the sums 4, 10 and 6; the greatest single value is in the first.
MAPS = torch.tensor([[[9.0, -5], [0, 0]], [[1, 2], [3, 4]], [[0, 6], [0, 0]]])


@pytest.fixture(autouse=True)
def small_detector(monkeypatch: pytest.MonkeyPatch) -> Detector:
    """A fresh nano model on 64 pixels in place of the one that --weights names."""
    torch.manual_seed(0)
    model = build_rtmdet("nano", 2)
    for conv in model.bbox_head.rtm_reg:
        nn.init.ones_(conv.bias)
    detector = Detector.from_model(model, ModelFacts(("cat", "dog"), (64, 64)), "cpu")
    monkeypatch.setattr(visualize, "load_detector", lambda arguments, *, fold: detector if not fold else None)
    return detector


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def visualize_photo(photo: Path, *options: str) -> tuple[int, list[str]]:
    """The exit code and the names of the pictures."""
    out = photo.parent / "out"
    code = main(["visualize", str(photo), "--out", str(out), *options])
    return code, sorted(path.name for path in out.glob("*")) if out.exists() else []


def picture_size(photo: Path, name: str) -> tuple[int, int]:
    image = cv2.imread(str(photo.parent / "out" / name))
    assert image is not None
    return image.shape[:2]


def test_layers_are_listed_without_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["visualize", "--list-layers"]) == 0
    assert "neck.out_convs[0]" in capsys.readouterr().out.splitlines()


def test_feature_maps_of_the_neck_by_default(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, names = visualize_photo(photo, ANY)
    assert (code, names) == (0, ["photo_neck_squeeze_mean_score_0.0.png"])
    assert capsys.readouterr().out.splitlines() == [
        "showing detections above 0",
        str(photo.parent / "out" / names[0]),
    ]
    height, width = picture_size(photo, names[0])
    assert width > 3 * 640  # three maps in one row
    assert height < 2 * 320


def test_several_layers_and_channels(photo: Path) -> None:
    options = ["--layer", "backbone", "--layer", "neck.out_convs[1]", "--reduction", "topk", "--topk", "2"]
    code, names = visualize_photo(photo, *options)
    assert (code, names) == (0, ["photo_backbone_topk_topk_2.png", "photo_neck.out_convs[1]_topk_topk_2.png"])
    heights = [picture_size(photo, name)[0] for name in names]
    assert 2.8 < heights[0] / heights[1] < 3.2  # three maps of two channels against one


def test_titles_of_channels() -> None:
    maps = [torch.arange(12.0).reshape(1, 3, 2, 2)]
    titles = [title for title, _ in reduce(maps[0][0], "topk", 2)]
    assert titles == ["layer, stride 8, channel: 2", "layer, stride 8, channel: 1"]
    [(title, heat)] = reduce(maps[0][0], "select_max", 2)
    assert title == "layer, stride 8, select_max of 3 x 2 x 2"
    assert heat is not None
    assert heat.tolist() == [[8, 9], [10, 11]]


def test_titles_of_the_head_s_outputs() -> None:
    maps = [torch.zeros(1, channels, side, side) for channels in (2, 4) for side in (8, 4, 2)]
    reduced = reduce_maps("bbox_head", maps, "squeeze_mean", topk=4, content=(64, 64), input_size=(64, 64))
    titles = [title for tiles in reduced for title, _ in tiles]
    assert titles[0] == "bbox_head class logits, stride 8, squeeze_mean of 2 x 8 x 8"
    assert titles[5] == "bbox_head box distances, stride 32, squeeze_mean of 4 x 2 x 2"
    assert arrange(reduced)[1] == 3, "logits above distances"


def test_rows_do_not_mix_levels() -> None:
    maps = [torch.zeros(1, channels, 2, 2) for channels in (3, 5, 9)]
    reduced = reduce_maps("layer", maps, "topk", topk=5, content=(64, 64), input_size=(64, 64))
    tiles, columns = arrange(reduced)
    assert columns == 4
    assert [heat is not None for _, heat in tiles] == [*[True] * 3, False, *([True] * 5 + [False] * 3) * 2]


@pytest.mark.parametrize("reduction", ["select_max", "topk"])
def test_the_padding_chooses_no_channel(reduction: str) -> None:
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, 5:] = 100.0  # below the 40 pixels of the photo
    maps[0, 1, 4] = 1.0
    [[(_, heat)]] = reduce_maps("layer", [maps], reduction, topk=1, content=(40, 64), input_size=(64, 64))
    assert heat is not None
    assert heat.max() == 1


def boxes_of_levels(photo: Path, monkeypatch: pytest.MonkeyPatch) -> Detections:
    """What is found in the photo from now on: three boxes, which come from level 0, 1 and 2."""
    found = Detections(
        torch.tensor([[4.0, 4, 20, 20], [30, 10, 60, 30], [40, 5, 75, 38]]),
        torch.full((3,), 0.5),
        torch.zeros(3).long(),
        ("cat", "dog"),
        image_size=(40, 80),
    )
    monkeypatch.setattr(visualizers, "find_boxes", lambda *_: found)
    monkeypatch.setattr(visualizers, "predicted_boxes", lambda *_: found)
    monkeypatch.setattr(box_am, "source_levels", lambda *_: torch.arange(3))
    return found


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The maps that were given colors."""
    maps: list[np.ndarray] = []

    def record(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        maps.append(heat)
        return np.zeros((*size, 3), np.uint8)

    monkeypatch.setattr(visualizers, "heat_map", record)
    return maps


def test_the_padding_is_cut_off_feature_maps(
    photo: Path, drawn: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    monkeypatch.setattr(visualizers, "reduce_maps", lambda *_, **__: [[("title", raw)]])
    visualize_photo(photo)
    assert np.array_equal(drawn[0], on_picture(raw, (40, 80), (64, 64)))


@pytest.mark.parametrize(
    ("options", "maker"),
    [
        (["gradcam", "--target", "loss"], "box_loss_target"),
        (["gradcam++", "--target", "score"], "class_score_target"),
        (["ablationcam"], "detection_target"),
    ],
)
def test_targets_get_boxes_in_input_pixels(
    options: list[str], maker: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Tensor] = []

    def make(boxes: Tensor, labels: Tensor, _: object) -> BoxTarget:
        asked.append(boxes)
        return class_score_target(boxes, labels, (32, 64))

    monkeypatch.setattr(box_targets, maker, make)
    found = Detections(torch.tensor([[10.0, 5, 60, 40]]), torch.tensor([0.5]), torch.tensor([1]), image_size=(40, 80))
    monkeypatch.setattr(visualizers, "find_boxes", lambda *_: found)
    monkeypatch.setattr(visualizers, "predicted_boxes", lambda *_: found)
    visualize_photo(photo, "--method", *options)
    assert torch.cat(asked).tolist() == [[8, 4, 48, 32]]  # 80 x 40 pixels in 64 x 64


def test_norm_in_box_changes_the_map(photo: Path, drawn: list[np.ndarray]) -> None:
    for option in ([], ["--norm-in-box"]):
        visualize_photo(photo, ANY, "--method", "eigencam", *option)
    plain, normalized = drawn
    assert plain.shape == normalized.shape == (40, 80)
    assert not np.allclose(plain, normalized)


def test_feature_maps_need_no_detection(photo: Path) -> None:
    assert visualize_photo(photo, "--score", "0.9")[0] == 0


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "eigencam"])
def test_box_am_of_all_levels_by_default(photo: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, names = visualize_photo(photo, ANY, "--method", method)
    assert (code, names) == (0, [f"photo_all_levels_{method}_score_0.0.png"])
    height, width = picture_size(photo, names[0])
    assert width == 640  # the photo is enlarged, so that its labels do not hide it
    assert height > 320  # the caption is below it
    out, err = capsys.readouterr()
    assert "note" not in out
    assert err == "", "no bar without a terminal"


def test_ablationcam_covers_one_level_by_default(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one that most boxes come from; the others can be named."""
    boxes_of_levels(photo, monkeypatch)
    monkeypatch.setattr(box_am, "source_levels", lambda *_: torch.tensor([0, 2, 2]))
    code, names = visualize_photo(photo, "--method", "ablationcam")
    assert (code, names) == (0, ["photo_neck.out_convs[2]_ablationcam.png"])
    out, err = capsys.readouterr()
    assert "it covers only neck.out_convs[2], where most boxes come from; others with --layer" in out
    assert "note: 1 of 3 boxes come from pyramid levels that this layer does not feed" in out
    assert err == "", "no bar without a terminal"
    layers = ["--layer", "neck.out_convs[0]", "--layer", "neck.out_convs[2]"]
    assert "photo_mean_ablationcam.png" in visualize_photo(photo, "--method", "ablationcam", *layers)[1]
    assert "covers only" not in capsys.readouterr().out


@pytest.mark.shared
def test_every_box_has_heat_by_default(
    shared: Path, tmp_path: Path, drawn: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last level alone finds 2 of these 8 people."""
    detector = Detector(shared / "weights" / "rtmdet_nano_person_bn.pth", device="cpu", fold=False)
    monkeypatch.setattr(visualize, "load_detector", lambda *_, **__: detector)
    photo = shared / "data" / "balloon" / "val" / "4838031651_3e7b5ea5c7_b.jpg"
    assert main(["visualize", str(photo), "--method", "gradcam", "--out", str(tmp_path)]) == 0
    boxes = detector([read_image(photo)])[0].boxes.int().tolist()
    assert len(boxes) == 8
    assert min(drawn[0][y1 : y2 + 1, x1 : x2 + 1].max() for x1, y1, x2, y2 in boxes) > 0.3


@pytest.mark.parametrize(
    ("layers", "note"),
    [
        (
            ["neck.out_convs[0]"],
            "2 of 3 boxes come from pyramid levels that this layer does not feed; they are gray",
        ),
        (
            ["neck.out_convs[0]", "neck.out_convs[2]"],
            "1 of 3 boxes come from pyramid levels that these layers do not feed",
        ),
        (["neck.out_convs[0]", "backbone.stage4[0]"], None),
    ],
)
def test_boxes_that_the_layers_do_not_feed_are_counted(
    photo: Path,
    layers: list[str],
    note: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    boxes_of_levels(photo, monkeypatch)
    words = [word for layer in layers for word in ("--layer", layer)]
    assert visualize_photo(photo, "--method", "gradcam", *words)[0] == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(lines) == (note is not None)
    assert note is None or f"note: {note}" in lines[0]
    visualize_photo(photo, "--method", "eigencam", *words)
    assert "note" not in capsys.readouterr().out, "eigencam explains no box"


def test_captions_say_what_a_method_does_not_show(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []

    def record(image: np.ndarray, text: str) -> np.ndarray:
        captions.append(text)
        return image

    monkeypatch.setattr(visualizers, "add_caption", record)
    for options in (["eigencam"], ["ablationcam"], ["gradcam", "--target", "loss"]):
        visualize_photo(photo, ANY, "--layer", "neck.out_convs[1]", "--method", *options)
    assert captions[0].startswith(
        "eigencam of neck.out_convs[1]: what varies most in the layer; explains no detection"
    )
    assert captions[0].endswith("; scores above 0; input 64 x 64 pixels")
    assert "not what a single box depends on" in captions[1]
    assert captions[2].startswith("gradcam of neck.out_convs[1]: where the box loss of ")


@pytest.fixture
def voting() -> Detector:
    """One whose boxes are moved by those that NMS drops, so far that those of other priors are closer."""
    model = lively_model()
    for scores, distances in zip(model.bbox_head.rtm_cls, model.bbox_head.rtm_reg, strict=True):
        scores.weight.data *= 0.1  # none is 1.0
        distances.weight.data *= 0  # every box reaches two cells to each side
        distances.bias.data[:] = 2
    facts = ModelFacts(CLASSES, SIZE, nms=NmsSettings(0.3, box_voting=True), score_thresholds=(0.4, 0.4, 0.4))
    return Detector.from_model(model, facts, "cpu")


@pytest.fixture
def noise() -> np.ndarray:
    """A picture of the input's size in which it finds something."""
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("method", ["gradcam", "ablationcam"])
def test_voting_moves_what_is_drawn_not_what_is_explained(
    voting: Detector, noise: np.ndarray, method: str, drawn: list[np.ndarray]
) -> None:
    plain = voting.with_nms(NmsSettings(0.3))
    moved = (voting(noise).boxes - plain(noise).boxes).abs().amax(1)
    assert moved.max() > 1
    for detector in (voting, plain):
        rtmdet.draw_box_am(detector, noise, layers="neck.out_convs[0]", method=method)
    assert drawn[0].any()
    assert np.array_equal(*drawn)
    found = visualizers.predicted_boxes(voting, noise, voting(noise)).clipped(SIZE)
    assert torch.equal(found.boxes, plain(noise).boxes)


def test_the_best_score_is_not_rounded_up(voting: Detector, noise: np.ndarray) -> None:
    best = float(voting(noise, score=0.0).scores[0])
    with pytest.raises(InputError, match=r"no detection above score .*, the best is ") as failure:
        rtmdet.draw_box_am(voting, noise, score=best + 1e-6)
    (shown,) = re.findall(r"best is ([\d.]+):", str(failure.value))
    assert best - 1e-4 < float(shown) <= best


def test_a_choice_of_boxes_is_explained(voting: Detector, noise: np.ndarray, drawn: list[np.ndarray]) -> None:
    found = voting(noise)
    for chosen in (found, found[[1]], found.numpy()[[1]]):
        rtmdet.draw_box_am(voting, noise, boxes=chosen)
    assert not np.allclose(drawn[0], drawn[1])
    assert np.array_equal(drawn[1], drawn[2])
    shifted = replace(found, scores=found.scores - 0.01)
    for wrong in (found[:0], shifted):
        with pytest.raises(InputError, match="boxes: expected some that this detector finds in the whole image"):
            rtmdet.draw_box_am(voting, noise, boxes=wrong)


def test_a_network_in_training_mode_is_drawn_as_in_evaluation(voting: Detector, noise: np.ndarray) -> None:
    def pictures() -> list[np.ndarray]:
        draw = (rtmdet.draw_feature_maps, rtmdet.draw_box_am)
        return [picture for one in draw for picture in one(voting, noise).values()]

    expected = pictures()
    voting.model.train()
    assert all(map(np.array_equal, pictures(), expected))
    assert all(module.training for module in voting.model.modules())


def test_boxes_that_a_layer_does_not_feed_are_gray(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = boxes_of_levels(photo, monkeypatch)
    captions: list[str] = []
    gray: list[np.ndarray] = []
    monkeypatch.setattr(visualizers, "add_caption", lambda image, text: captions.append(text) or image)
    monkeypatch.setattr(visualizers, "draw_boxes", lambda image, boxes, *_: gray.append(boxes) or image)
    fresh = visualizers.Detector.from_model(build_rtmdet("nano", 2), ModelFacts(("cat", "dog"), (64, 64)), "cpu")
    picture = rtmdet.draw_box_am(fresh, photo, layers=["neck.out_convs[0]"])["neck.out_convs[0]"]
    assert "class score of 1 of 3 boxes (not the gray ones)" in captions[0]
    assert picture.shape[1] == 640
    assert np.array_equal(gray[0], 8 * found.boxes[1:])


def test_no_picture_replaces_one_of_other_options(photo: Path) -> None:
    options = [[], ["--target", "loss"], ["--norm-in-box"], ["--hide-labels"], ["--classes", "cat"]]
    for chosen in (*options, ["--class-names", "a,b"]):
        for _ in range(2):
            visualize_photo(photo, ANY, "--method", "gradcam", "--layer", "neck.out_convs[0]", *chosen)
    names = visualize_photo(photo, ANY)[1]
    assert len(names) == 7
    assert "photo_neck.out_convs[0]_gradcam_target_loss_score_0.0.png" in names
    assert "photo_neck.out_convs[0]_gradcam_score_0.0_classes_cat.png" in names


def test_classes_whose_names_are_cut_to_the_same_keep_their_pictures(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visualize, "MOST_LETTERS", 0)
    names = [visualize_photo(photo, ANY, "--classes", chosen)[1] for chosen in ("cat", "dog", "cat")]
    assert list(map(len, names)) == [1, 2, 2]


def test_many_classes_make_no_name_that_is_too_long() -> None:
    given = parser.build_parser().parse_args(
        ["visualize", "a.jpg", "--topk", "3", "--classes", ",".join("abcdefgh" * 9)]
    )
    assert visualize.chosen_options(given) == ["topk_3", "classes_" + "a,b,c,d,e,f,g,h," * 2 + "a,b,c,d,"]


def test_several_photos(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photo.parent / "more"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo.read_bytes())
    (folder / "b.png").write_bytes(b"not an image")
    assert main(["visualize", str(photo), str(folder), "--out", str(photo.parent / "out")]) == 1
    names = sorted(path.name for path in (photo.parent / "out").iterdir())
    assert names == ["a_neck_squeeze_mean.png", "photo_neck_squeeze_mean.png"]
    assert capsys.readouterr().err.startswith(f"skipped: {folder / 'b.png'}")
    both = ["--method", "gradcam", "--score", "0.99", "--out", str(photo.parent / "out")]
    assert main(["visualize", str(photo), str(folder / "a.png"), *both]) == 2
    assert capsys.readouterr().err.startswith(f"skipped: {photo}: Box AM needs a box to explain: no detection above")
    assert visualize_photo(folder / "b.png")[0] == 2
    capsys.readouterr()
    assert visualize_photo(Path("0"))[0] == 2
    assert "0: expected photos, found a video, camera or address" in capsys.readouterr().err


def test_photos_of_one_name_keep_their_pictures(photo: Path) -> None:
    other = photo.parent / "other" / "photo.png"
    other.parent.mkdir()
    other.write_bytes(photo.read_bytes())
    for path in (photo, other, photo):
        assert main(["visualize", str(path), "--out", str(photo.parent / "out")]) == 0
    names = sorted(path.name for path in (photo.parent / "out").iterdir())
    assert names == ["photo_neck_squeeze_mean.png", "photo_neck_squeeze_mean_2.png"]


def test_labels_are_not_tinted_by_the_heat(photo: Path) -> None:
    visualize_photo(photo, ANY)
    picture = cv2.imread(str(photo.parent / "out" / "photo_neck_squeeze_mean_score_0.0.png"))
    assert picture is not None
    colors = class_colors(["cat", "dog"])
    assert max((picture[..., ::-1] == color).all(-1).sum() for color in colors) > 100


def test_several_layers_give_their_mean_too(photo: Path) -> None:
    layers = ["--layer", "neck.out_convs[0]", "--layer", "neck.out_convs[2]"]
    code, names = visualize_photo(photo, ANY, "--method", "gradcam", "--target", "loss", "--norm-in-box", *layers)
    stems = ["mean", "neck.out_convs[0]", "neck.out_convs[2]"]
    assert (code, names) == (0, [f"photo_{stem}_gradcam_target_loss_norm_in_box_score_0.0.png" for stem in stems])


def test_the_mean_of_other_layers_has_a_picture_of_its_own(photo: Path) -> None:
    for pair in ("02", "01", "02"):
        layers = [word for number in pair for word in ("--layer", f"neck.out_convs[{number}]")]
        names = visualize_photo(photo, ANY, "--method", "eigencam", *layers)[1]
    assert [name for name in names if "mean" in name] == [
        f"photo_mean_eigencam_score_0.0{end}.png" for end in ("", "_2")
    ]
    assert len(names) == 5


def test_an_empty_map_is_explained(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reasons = (  # no class score depends on the box branch; all boxes are of the first level
        (0, "the class score does not depend on this layer; try another one, or --target=loss"),
        (2, "no box comes from a pyramid level that this layer feeds; try another one"),
    )
    for level, reason in reasons:
        layer = f"bbox_head.reg_convs[{level}][1]"
        assert visualize_photo(photo, ANY, "--method", "gradcam", "--layer", layer)[0] == 0
        assert f"note: the map of {layer} is empty: {reason}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "gradcam"], "no detection above score 0.3, the best is 0.0"),
        ([ANY, "--method", "gradcam", "--layer", "neck"], "'neck' outputs 3 maps"),
        ([ANY, "--method", "gradcam", "--layer", "nekc"], "did you mean neck"),
        ([ANY, "--layer", "nekc"], "did you mean neck"),
        ([ANY, "--layer", "__import__('os')"], "not a module path"),
        (["--reduction", "topk", "--topk", "0"], "topk 0: expected at least 1 channel"),
        (["--topk", "2"], "--topk is for --reduction topk: give that, too"),
        (["--method", "gradcam", "--reduction", "topk"], "--reduction is for feature maps: leave out"),
        (["--method", "gradcam", "--topk", "2"], "--topk is for feature maps: leave out this option or --method"),
        (["--method", "eigencam", "--target", "loss"], "--target is for --method gradcam or gradcam++"),
        (["--norm-in-box"], "--norm-in-box is for Box AM: give --method"),
        (["--score", "2"], "--score 2.0: expected a number from 0 to 1"),
    ],
)
def test_unusable_input_is_one_line(
    photo: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, names = visualize_photo(photo, *options)
    error = capsys.readouterr().err.splitlines()
    assert (code, names, len(error)) == (2, [], 1)
    assert message in error[0]


def test_an_image_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["visualize"]) == 2
    assert "expected an image file" in capsys.readouterr().err


def test_pictures_from_python(photo: Path, checkpoint: Path) -> None:
    """The same from a file, an array in either order of colors, and a detector with merged batch norms."""
    maps = rtmdet.draw_feature_maps(checkpoint, photo, layers=["backbone", "neck"], score=0.0)
    assert list(maps) == ["backbone", "neck"]
    pixels = read_image(photo)
    for image, color in ((pixels, "rgb"), (np.ascontiguousarray(pixels[..., ::-1]), "bgr")):
        again = rtmdet.draw_feature_maps(Detector(checkpoint), image, layers=["neck"], score=0.0, color=color)
        different = np.abs(again["neck"].astype(int) - maps["neck"]).max(2) > 8  # merged norms round differently
        assert different.mean() < 0.01
    heat = rtmdet.draw_box_am(checkpoint, pixels, score=0.0)
    assert list(heat) == ["all_levels"]
    assert heat["all_levels"].shape[1:] == (640, 3)


@pytest.mark.parametrize(
    ("function", "asked", "message"),
    [
        ("draw_feature_maps", {"reduction": "mean"}, "reduction 'mean': expected one of squeeze_mean, select_max"),
        ("draw_feature_maps", {"topk": 0}, "topk 0: expected at least 1 channel"),
        ("draw_feature_maps", {"layers": ["nekc"]}, "did you mean neck"),
        ("draw_feature_maps", {"layers": []}, "layers: expected at least one, found none"),
        ("draw_box_am", {"method": "cam"}, "method 'cam': expected one of gradcam, gradcam++, eigencam"),
        ("draw_box_am", {"target": "iou"}, "target 'iou': expected one of score, loss"),
        ("draw_box_am", {"layers": ()}, "layers: expected at least one, found none"),
        ("draw_box_am", {"score": 1.0}, "no detection above score 1,"),
        ("draw_box_am", {"image": None}, "image: expected a path, a PIL image, a uint8 array"),
        ("draw_box_am", {"image": "none.jpg"}, "none.jpg"),
    ],
)
def test_unusable_arguments_are_one_line(
    function: str, asked: dict[str, object], message: str, photo: Path, checkpoint: Path
) -> None:
    asked = {"image": photo, **asked}
    with pytest.raises(InputError, match=re.escape(message)):
        getattr(rtmdet, function)(checkpoint, **asked)


def test_the_command_offers_what_the_functions_take() -> None:
    assert tuple(visualizers.CAPTIONS) == parser.BOX_AM_METHODS
    assert parser.REDUCTIONS == REDUCTIONS


@pytest.mark.slow
def test_feature_maps_do_not_import_pytorch_grad_cam() -> None:
    code = "import sys, rtmdet.cli.visualize; sys.exit('pytorch_grad_cam' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env=dict(os.environ), check=False).returncode == 0


def reduce(maps: Tensor, reduction: str, topk: int = 4) -> list[Tile]:
    """Titles and maps of a layer with the output (C, h, w) of stride 8, without padding."""
    size = 8 * maps.shape[1], 8 * maps.shape[2]
    return reduce_maps("layer", [maps[None]], reduction, topk=topk, content=size, input_size=size)[0]


def test_reductions_by_hand() -> None:
    [(_, mean)] = reduce(MAPS, "squeeze_mean")
    assert np.allclose(mean, [[10 / 3, 1], [1, 4 / 3]])
    [(_, strongest)] = reduce(MAPS, "select_max")
    assert np.array_equal(strongest, MAPS[1])
    titles, heats = zip(*reduce(MAPS, "topk", 2), strict=True)
    assert titles == ("layer, stride 8, channel: 1", "layer, stride 8, channel: 2")
    assert np.array_equal(heats, MAPS[1:])


def test_more_channels_than_there_are() -> None:
    assert [title for title, _ in reduce(MAPS, "topk", 9)] == [f"layer, stride 8, channel: {k}" for k in (1, 2, 0)]


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
def test_reductions_equal_the_reference(real_maps: dict[str, list[Tensor]], layer: str, level: int) -> None:
    maps, golden = real_maps[layer][level][0], np.load(GOLDEN)
    for reduction in ("squeeze_mean", "select_max"):
        expected = golden[f"feat_{layer}{level}_{reduction}"]
        [(_, found)] = reduce(maps, reduction)
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    channels = golden[f"feat_{layer}{level}_top4"].tolist()
    assert [title for title, _ in reduce(maps, "topk")] == [
        f"layer, stride 8, channel: {channel}" for channel in channels
    ]
