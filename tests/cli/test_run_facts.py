"""What the warnings know of a run beforehand."""

import json
from pathlib import Path

import pytest
import torch

from rtmdet.config.file import load_config
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.runs.checks.likely_causes import ClassBoxes, collect_facts, count_boxes, frozen_random
from rtmdet.weights.load import read_checkpoint


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        ([], None),
        (["model.frozen_stages=1"], "model.frozen_stages"),
        (["model.freeze=[neck.*]"], "model.freeze"),
        (["model.freeze=[backbone.*]", "model.backbone=timm/resnet18"], None),
        (
            ["model.freeze=[backbone.*]", "model.backbone=timm/resnet18", "model.backbone_pretrained=false"],
            "model.freeze",
        ),
    ],
)
def test_frozen_random_layers_are_known_by_their_setting(
    config: Path, overrides: list[str], setting: str | None
) -> None:
    assert frozen_random(load_config(config, overrides)) == setting


def test_a_start_from_a_backbone_is_from_scratch_and_takes_more(
    config: Path, dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """New classes count only where a detector's class layers could know them."""
    data = CocoDataset(dataset / "train" / "annotations.json", dataset / "train" / "images", training=True)
    detector = read_checkpoint(checkpoint)
    backbone = {name: value for name, value in detector.tensors.items() if name.startswith("backbone.")}
    torch.save(backbone, tmp_path / "backbone.pth")
    settings = load_config(config, [f"model.weights={tmp_path / 'backbone.pth'}"])
    facts = {
        name: collect_facts(settings, data, weights, steps=3)
        for name, weights in (("detector", detector), ("backbone", read_checkpoint(tmp_path / "backbone.pth")))
    }
    nothing = collect_facts(load_config(config, []), data, None, steps=3)
    assert [facts["detector"].from_scratch, facts["backbone"].from_scratch, nothing.from_scratch] == [
        False, True, True,
    ]  # fmt: skip
    assert [facts["detector"].usual_images_seen, facts["backbone"].usual_images_seen, nothing.usual_images_seen] == [
        2400, 7200, 12_000,
    ]  # fmt: skip


def test_the_learning_rate_is_that_of_the_setting(config: Path, dataset: Path) -> None:
    """Advice about it names a value for the setting: neither scaled nor cut off by the schedule of a short run."""
    data = CocoDataset(dataset / "train" / "annotations.json", dataset / "train" / "images", training=True)
    settings = load_config(config, ["train.learning_rate=2e-3", "train.scale_learning_rate=true"])
    facts = collect_facts(settings, data, None, steps=3)
    assert facts.learning_rate == 2e-3


def test_boxes_are_counted_by_class_at_the_input_size(dataset: Path, tmp_path: Path) -> None:
    """Of 96 x 96 pixels at 64: a kite of 3 pixels has 2 of the input, between the priors at 8 and 16."""
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    balloons = len(content["annotations"])
    image = content["images"][0]["id"]
    content["categories"] += [{"id": 7, "name": "kite"}, {"id": 8, "name": "bird"}]
    for number, box in enumerate(([13.5, 13.5, 3, 3], [10, 10, 40, 40])):
        kite = {"id": 900 + number, "image_id": image, "category_id": 7, "bbox": box, "area": box[2] * box[3]}
        content["annotations"].append({**kite, "iscrowd": 0})
    (tmp_path / "three.json").write_text(json.dumps(content))
    data = CocoDataset(tmp_path / "three.json", dataset / "train" / "images", training=True)
    counts = count_boxes(data, (64, 64))
    assert counts["balloon"].count == balloons
    assert counts["kite"] == ClassBoxes(2, 1)
    assert counts["bird"] == ClassBoxes(0, 0)
