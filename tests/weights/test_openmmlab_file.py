"""Checkpoints for mmdet: what it reads there, and that we read the same detector back.

mmdet 3.3.0 itself is not at hand here; its facts are numbers of its published configurations.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lively import CLASSES, SIZE, assert_close, lively_model

import rtmdet
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.deploy.export import Tracer, export_facts, write_network
from rtmdet.detector import Detector
from rtmdet.models.folding import fold_batch_norms
from rtmdet.models.rtmdet import RTMDet
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import find_size, read_checkpoint
from rtmdet.weights.openmmlab_file import openmmlab_config

FACTS = ModelFacts(
    CLASSES,
    SIZE,
    category_ids=(4, 7, 9),
    score_thresholds=(0.5, 0.6, 0.7),
    nms=NmsSettings(0.6, box_voting=True),
    size="nano",
    config="model:\n  size: nano\n",
)
PUBLISHED = {  # deepen, widen, the neck's channels, blocks, exp_on_reg, depthwise, shared convolutions
    "nano": (0.33, 0.25, [64, 128, 256], 1, False, True, False),
    "tiny": (0.167, 0.375, [96, 192, 384], 1, False, False, True),
    "s": (0.33, 0.5, [128, 256, 512], 1, False, False, True),
    "m": (0.67, 0.75, [192, 384, 768], 2, True, False, True),
    "l": (1.0, 1.0, [256, 512, 1024], 3, True, False, True),
    "x": (1.33, 1.25, [320, 640, 1280], 4, True, False, True),
}


@pytest.fixture(scope="module")
def model() -> RTMDet:
    return lively_model()


@pytest.fixture(scope="module")
def file(model: RTMDet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openmmlab") / "new" / "best-openmmlab.pth"
    write_network(Tracer(model, export_facts(FACTS, None)), path, "openmmlab", source=None)
    return path


def run_config(text: str) -> dict[str, Any]:
    """The configuration's values, as mmdet gets them."""
    values: dict[str, Any] = {}
    exec(compile(text, "config.py", "exec"), values)
    return values


def test_the_file_holds_all_that_mmdet_needs(model: RTMDet, file: Path) -> None:
    content = torch.load(file, weights_only=True)
    expected = model.state_dict()
    assert content["state_dict"].keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in content["state_dict"].items())
    assert content["meta"]["dataset_meta"]["classes"] == list(CLASSES)
    assert file.with_suffix(".py").read_text("utf-8") == content["meta"]["cfg"]
    config = run_config(content["meta"]["cfg"])
    assert config["default_scope"] == "mmdet"
    dataset = config["test_dataloader"]["dataset"]
    assert dataset["metainfo"]["classes"] == CLASSES
    assert len(dataset["metainfo"]["palette"]) == len(CLASSES)
    assert dataset["pipeline"][0]["type"] == "LoadImageFromFile"  # DetInferencer looks for it
    assert "img_id" in dataset["pipeline"][-1]["meta_keys"]


def test_the_detector_comes_back(model: RTMDet, file: Path) -> None:
    back = Detector(file, device="cpu")
    assert back.facts == FACTS
    whole = Detector.from_model(model, ModelFacts(CLASSES, SIZE), torch.device("cpu"))
    image = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    assert len(whole(image, score=0.1)) > 3
    assert_close(back(image, score=0.1), whole.with_nms(FACTS.nms)(image, score=0.1))


@pytest.mark.parametrize("size", PUBLISHED)
@pytest.mark.parametrize("classes", [1, 200])
def test_the_network_of_every_size(size: str, classes: int) -> None:
    deepen, widen, channels, blocks, exponential, depthwise, shared = PUBLISHED[size]
    names = tuple(f"class {index}" for index in range(classes))
    network = run_config(openmmlab_config(ModelFacts(names, (320, 320), nms=NmsSettings(0.6), size=size)))["model"]
    backbone, neck, head = network["backbone"], network["neck"], network["bbox_head"]
    assert (backbone["deepen_factor"], backbone["widen_factor"]) == (deepen, widen)
    assert (neck["in_channels"], neck["out_channels"], neck["num_csp_blocks"]) == (channels, channels[0], blocks)
    assert head["in_channels"] == head["feat_channels"] == channels[0]
    assert (head["num_classes"], head["exp_on_reg"], head["share_conv"]) == (classes, exponential, shared)
    assert {part["use_depthwise"] for part in (backbone, neck, head)} == {depthwise}
    assert network["data_preprocessor"]["mean"] == [103.53, 116.28, 123.675]
    assert network["data_preprocessor"]["std"] == [57.375, 57.12, 58.395]
    limits = network["test_cfg"]
    assert (limits["score_thr"], limits["nms"]["iou_threshold"], limits["max_per_img"]) == (0.001, 0.6, 300)
    with torch.device("meta"):
        assert find_size(rtmdet.build_rtmdet(size, classes).state_dict()) == size


def test_the_letterbox() -> None:
    """Width comes first there; only inputs that are square keep mmdet's usual transforms."""
    square = run_config(openmmlab_config(replace(FACTS, input_size=(320, 320))))["test_pipeline"][1:-1]
    assert [(step["type"], step.get("scale", step.get("size"))) for step in square] == [
        ("Resize", (320, 320)),
        ("Pad", (320, 320)),
    ]
    (oblong,) = run_config(openmmlab_config(replace(FACTS, input_size=(192, 320))))["test_pipeline"][1:-1]
    assert (oblong["type"], oblong["width"], oblong["height"]) == ("FixShapeResize", 320, 192)
    for step in (square[0], oblong):
        assert step["keep_ratio"] is True
    assert square[1]["pad_val"] == oblong["pad_val"] == {"img": (114, 114, 114)}


def test_names_of_any_characters() -> None:
    """Quotes, mmengine's {{ }}, and half a surrogate pair, which no file can hold."""
    names = ("it's", '"', "{{ fileDirname }}", "new\nline", "貓", "\ud83d", "a\\")
    text = openmmlab_config(replace(FACTS, classes=names, category_ids=(), score_thresholds=()))
    assert "{{" not in text
    text.encode()
    assert run_config(text)["classes"] == names


def test_what_mmdet_cannot_run(model: RTMDet, tmp_path: Path) -> None:
    def write(network: RTMDet, facts: ModelFacts, *, half: bool = False) -> None:
        path = tmp_path / "a-openmmlab.pth"
        write_network(Tracer(network, export_facts(facts, None)), path, "openmmlab", half=half, source=None)

    with pytest.raises(InputError, match=r"openmmlab: mmdet has no timm/resnet18: export to onnx"):
        write(model, replace(FACTS, backbone="timm/resnet18"))
    with pytest.raises(InputError, match=r"openmmlab: mmdet cannot read this detector's 16-bit images"):
        write(model, replace(FACTS, value_range=(0, 4000)))
    with pytest.raises(InputError, match=r"openmmlab: expected a network of size nano, .*, found another"):
        openmmlab_config(replace(FACTS, size=""))
    with pytest.raises(InputError, match=r"openmmlab holds the weights alone"):
        write(model, FACTS, half=True)
    with pytest.raises(InputError, match=r"openmmlab: the batch norms of this detector are merged"):
        write(fold_batch_norms(model), FACTS)
    assert not list(tmp_path.iterdir())


def test_a_model_in_memory_knows_its_size_by_its_tensors(model: RTMDet, tmp_path: Path) -> None:
    path = tmp_path / "a-openmmlab.pth"
    facts = export_facts(ModelFacts(CLASSES, SIZE), None)
    write_network(Tracer(model, facts), path, "openmmlab", source=None)
    assert Detector(path, device="cpu").facts.size == "nano"


def test_the_file_keeps_the_epoch_of_the_training(model: RTMDet, tmp_path: Path) -> None:
    source, path = tmp_path / "last.pth", tmp_path / "last-openmmlab.pth"
    meta = CheckpointMeta(FACTS, epoch=6, iteration=60)
    save_checkpoint(source, model_state=model.state_dict(), meta=meta)
    for given, epoch in ((source, 6), (None, None)):
        write_network(Tracer(model, export_facts(FACTS, given)), path, "openmmlab", source=given)
        assert read_checkpoint(path).epoch == epoch
