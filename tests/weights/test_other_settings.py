"""What OpenMMLab's files have otherwise: settings for tests, other networks, other channels, mmyolo's names."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lively import CLASSES, assert_close, lively_model
from torch import Tensor

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.detector import Detector
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.models.zoo import BGR_MEAN, BGR_STD
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import load_weights, read_checkpoint
from rtmdet.weights.openmmlab_file import openmmlab_config

State = dict[str, Tensor]
FACTS = ModelFacts(CLASSES, (320, 320), size="nano")
ARGUMENTS = {"--score": "score", "--max-boxes": "max_detections", "--input": "input_size"}
UNAPPLIED = "settings of its configuration that are not applied here: "


@pytest.fixture(scope="module")
def state() -> State:
    return dict(lively_model().state_dict())


def write(path: Path, state: State, *changes: tuple[str, str], facts: ModelFacts = FACTS) -> Path:
    """A checkpoint with a configuration of mmdet, changed in places."""
    text = openmmlab_config(facts)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    torch.save({"meta": {"cfg": text, "dataset_meta": {"classes": facts.classes}}, "state_dict": state}, path)
    return path


RESIZE, PAD = "dict(type='Resize', scale=(320, 320), keep_ratio=True)", "dict(type='Pad', size=(320, 320), pad_val"
NMS = "dict(type='nms', iou_threshold=0.65)"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("score_thr=0.001", "score_thr=0.05", "score_thr=0.05 (infer: --score)"),
        ("max_per_img=300", "max_per_img=20", "max_per_img=20 (infer: --max-boxes)"),
        ("nms_pre=30000", "nms_pre=1000", "nms_pre=1000"),
        (NMS, "dict(iou_threshold=0.65, class_agnostic=True)", "nms.class_agnostic=True"),
        (NMS, "dict(type='soft_nms', iou_threshold=0.3)", "nms.type='soft_nms', nms.iou_threshold=0.3"),
        ("(114, 114, 114)", "(0, 0, 0)", "Pad.pad_val=[0, 0, 0]"),
        ("keep_ratio=True", "keep_ratio=False", "Resize.keep_ratio=False"),
        (", keep_ratio=True", "", "Resize.keep_ratio=False"),
        ("scale=(320, 320)", "scale=(300, 300)", "Resize.scale=(300, 300) (here 320 x 320: --input)"),
        ("scale=(320, 320)", "scale=(9000, 9000)", "Resize.scale=(9000, 9000)"),
        ("scale=(320, 320)", "scale_factor=0.5", "Resize.scale_factor=0.5"),
        (
            "scale=(320, 320)",
            "scale=(1333, 800)",
            "Resize.scale=(1333, 800) (here 1344 x 800, also for upright images: --input)",
        ),
        (
            RESIZE,
            "dict(type='LetterResize', scale=(320, 320), pad_val=dict(img=114))",
            "LetterResize (centers the image)",
        ),
        (RESIZE, f"{RESIZE}, dict(type='A\\nB')", "A B"),
    ],
)
def test_what_is_not_applied_is_said_once(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str], before: str, after: str, said: str
) -> None:
    path = write(tmp_path / "a.pth", state, (before, after))
    detector = Detector(path, device="cpu")
    in_python = re.sub("--[a-z-]+", lambda option: ARGUMENTS[option[0]], said)
    assert capsys.readouterr().err == f"{path}: {UNAPPLIED}{in_python}\n"
    assert detector.facts.nms == NmsSettings(0.65)
    assert main(["info", str(path)]) == 0
    assert f"not applied  {said}\n" in capsys.readouterr().out


@pytest.mark.parametrize("size", [(320, 320), (384, 640)])
def test_usual_settings_need_no_line(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str], size: tuple[int, int]
) -> None:
    facts = ModelFacts(CLASSES, size, size="nano", nms=NmsSettings(0.5))
    found = Detector(write(tmp_path / "a.pth", state, facts=facts), device="cpu").facts
    assert (found.input_size, found.nms) == (size, facts.nms)
    write(tmp_path / "b.pth", state, (PAD, "dict(type='Pad', size_divisor=32, pad_val"))
    assert Detector(tmp_path / "b.pth", device="cpu").input_size == (320, 320)
    assert capsys.readouterr().err == ""


def test_a_network_whose_input_is_rgb(tmp_path: Path, state: State) -> None:
    """The same values in another order, for a first convolution in that order."""
    name = "backbone.stem.0.conv.weight"
    swapped = {**state, name: state[name].flip(1)}
    pixels = f"mean={list(BGR_MEAN)}, std={list(BGR_STD)}, bgr_to_rgb=False"
    rgb = f"mean={list(BGR_MEAN[::-1])}, std={list(BGR_STD[::-1])}, bgr_to_rgb=True"
    here = Detector(write(tmp_path / "a.pth", state), device="cpu")
    there = Detector(write(tmp_path / "b.pth", swapped, (pixels, rgb)), device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    assert len(here(image, score=0.1)) > 3
    assert_close(here(image, score=0.1), there(image, score=0.1))
    write(tmp_path / "c.pth", swapped, (pixels, rgb.replace("True", "False")))
    with pytest.raises(InputError, match=r"model\.data_preprocessor\.mean = \[123\.675"):
        read_checkpoint(tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("before", "after", "tensor", "said"),
    [
        ("stacked_convs=2", "stacked_convs=3", "bbox_head.w", "bbox_head.stacked_convs = 3: expected 2"),
        ("num_csp_blocks=1", "num_csp_blocks=2", "neck.w", "neck.num_csp_blocks = 2: expected 1"),
        ("num_csp_blocks=1,", "", "neck.w", "neck.num_csp_blocks = 3: expected 1"),
        ("out_channels=64", "out_channels=96", "neck.w", "neck.out_channels = 96: expected 64"),
        ("feat_channels=64", "feat_channels=96", "bbox_head.w", "bbox_head.feat_channels = 96: expected 64"),
        ("pred_kernel_size=1", "pred_kernel_size=3", "bbox_head.w", "bbox_head.pred_kernel_size = 3: expected 1"),
        ("objectness=False", "objectness=True", "bbox_head.w", "bbox_head.with_objectness = True: expected False"),
        ("widen_factor=0.25", "widen_factor=0.3", "backbone.w", "backbone.widen_factor = 0.3: expected 0.25 or "),
        ("deepen_factor=0.33", "deepen_factor=1", "backbone.w", "backbone.deepen_factor = 1: expected 0.33"),
        ("attention=True", "attention=False", "backbone.w", "backbone.channel_attention = False: expected True"),
        ("norm_cfg = dict(type='BN')", "norm_cfg = dict(type='GN')", "backbone.w",
         "backbone.norm_cfg.type = 'GN': expected BN"),
    ],
)  # fmt: skip
def test_the_setting_that_made_other_tensors_is_named(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str], before: str, after: str, tensor: str, said: str
) -> None:
    path = write(tmp_path / "a.pth", {**state, f"{tensor}eight": torch.zeros(1)}, (before, after))
    for use in (lambda: Detector(path), lambda: load_weights(build_rtmdet("nano", 3), read_checkpoint(path))):
        with pytest.raises(InputError) as caught:
            use()
        assert str(caught.value).startswith(f"{path}: its configuration says model.{said}")
        assert f"{tensor}eight" not in str(caught.value)
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"not usable   its configuration says model.{said}" in shown
    assert "model        RTMDet-nano" not in shown


def test_other_tensors_without_a_setting_are_named(
    tmp_path: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({**state, "bbox_head.rtm_obj.0.weight": torch.zeros(1)}, tmp_path / "a.pth")
    assert main(["info", str(tmp_path / "a.pth")]) == 0
    shown = capsys.readouterr().out
    assert "model        an RTMDet with the backbone of RTMDet-nano, 1.01 million" in shown
    assert "not usable   does not fit the model (the file's backbone is of size nano): 1 unexpected: bbox_h" in shown
    headless = {name: value for name, value in state.items() if "rtm_cls" not in name}
    torch.save(headless, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"no class layers of an RTMDet: it is another detector on such a backbone"):
        Detector(tmp_path / "b.pth")


MMYOLO = {  # how mmyolo 0.6.0 names what mmdet names
    "bbox_head.": "bbox_head.head_module.",
    "neck.reduce_layers.0.": "neck.reduce_layers.2.",
    "neck.reduce_layers.1.": "neck.top_down_layers.0.1.",
    "neck.top_down_blocks.0.": "neck.top_down_layers.0.0.",
    "neck.top_down_blocks.1.": "neck.top_down_layers.1.",
    "neck.downsamples.": "neck.downsample_layers.",
    "neck.bottom_up_blocks.": "neck.bottom_up_layers.",
    "neck.out_convs.": "neck.out_layers.",
}
MMYOLO_CONFIG = """
norm_cfg = dict(type='BN'{eps})
model = dict(
    backbone=dict(type='CSPNeXt', deepen_factor=0.167, widen_factor=0.375, norm_cfg=norm_cfg),
    neck=dict(type='CSPNeXtPAFPN', in_channels=[256, 512, 1024], out_channels=256, num_csp_blocks=3),
    bbox_head=dict(
        type='RTMDetHead',
        head_module=dict(type='RTMDetSepBNHeadModule', in_channels=256, feat_channels=256, num_classes=2),
        prior_generator=dict(type='mmdet.MlvlPointGenerator', offset={offset}, strides=[8, 16, 32]),
    ),
    test_cfg=dict(multi_label=True, nms=dict(iou_threshold=0.6, type='nms'), score_thr=0.001),
)
"""


def write_mmyolo(path: Path, state: State, *, eps: str = "", offset: float = 0) -> dict[str, Any]:
    def named(name: str) -> str:
        return next((there + name[len(here) :] for here, there in MMYOLO.items() if name.startswith(here)), name)

    content = {
        "meta": {"cfg": MMYOLO_CONFIG.format(eps=eps, offset=offset), "dataset_meta": {"classes": ("a", "b")}},
        "state_dict": {named(name): value for name, value in state.items()},
    }
    torch.save(content, path)
    return content


def test_a_file_of_mmyolo(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = build_rtmdet("tiny", 2)
    content = write_mmyolo(tmp_path / "a.pth", tiny.state_dict())
    assert "neck.top_down_layers.0.1.conv.weight" in content["state_dict"]
    weights = read_checkpoint(tmp_path / "a.pth")
    assert (weights.classes, weights.facts.size, weights.facts.nms) == (("a", "b"), "tiny", NmsSettings(0.6))
    model = build_rtmdet("tiny", 2)
    load_weights(model, weights)
    assert all(torch.equal(value, tiny.state_dict()[name]) for name, value in model.state_dict().items())
    for change, said in (({"eps": ", eps=1e-3"}, "backbone.norm_cfg.eps"), ({"offset": 0.5}, "bbox_head.anchor")):
        write_mmyolo(tmp_path / "a.pth", tiny.state_dict(), **change)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=said):
            read_checkpoint(tmp_path / "a.pth")


def test_the_sizes_of_mmyolo_without_exponential_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = build_rtmdet("m", 2).state_dict()
    medium = {name: torch.zeros(value.shape, dtype=torch.int8) for name, value in shapes.items()}
    write_mmyolo(tmp_path / "a.pth", medium)
    with pytest.raises(InputError, match=r"mmyolo's RTMDet-m, whose box branch is not that of mmdet's"):
        read_checkpoint(tmp_path / "a.pth")


def test_an_epoch_that_nobody_knows_is_not_zero(tmp_path: Path, state: State) -> None:
    for epoch, iteration, known in ((0, 0, None), (0, 5, 0), (6, 0, 6)):
        save_checkpoint(tmp_path / "a.pth", model_state=state, meta=CheckpointMeta(FACTS, epoch, iteration))
        assert read_checkpoint(tmp_path / "a.pth").epoch == known


def test_a_network_of_four_levels_is_not_taken_for_mmyolos(tmp_path: Path, state: State) -> None:
    """Its neck has a layer of the name that mmyolo gives to the first."""
    more = {
        name.replace("_layers.0.", "_layers.2."): value for name, value in state.items() if "reduce_layers.0." in name
    }
    torch.save({"state_dict": {**state, **more}}, tmp_path / "p6.pth")
    assert "neck.reduce_layers.2.conv.weight" in read_checkpoint(tmp_path / "p6.pth").tensors
