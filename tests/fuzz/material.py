"""The sound files that every case damages: scenes of 96 x 96 with COCO, YOLO and VOC labels, config, checkpoint."""

import json
from pathlib import Path
from xml.etree import ElementTree

import torch
import yaml

from rtmdet.core.facts import ModelFacts
from rtmdet.data.synthetic import write_dataset
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint

SIDE = 96  # pixels of a scene


def write_material(folder: Path) -> Path:
    """Write folder/data, which is copied for every case, and folder/nano.pth; returns the checkpoint."""
    data = folder / "data"
    for seed, (split, count) in enumerate((("train", 4), ("val", 2))):
        path = write_dataset(data / split, count=count, seed=seed, size=(SIDE, SIDE))
        _write_labels(data / split, json.loads(path.read_text()))
    description = {"path": "", "train": "train/images", "val": "val/images", "nc": 1, "names": ["balloon"]}
    (data / "data.yaml").write_text(yaml.safe_dump(description))
    (data / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    torch.manual_seed(0)
    state = build_rtmdet("nano", 1).state_dict()
    save_checkpoint(
        folder / "nano.pth", model_state=state, meta=CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano"))
    )
    return folder / "nano.pth"


SETTINGS = {
    "model": {"size": "nano", "weights": None, "frozen_stages": -1, "freeze": ["backbone.stem.*"]},
    "data": {
        **{
            split: {"annotations": f"{split}/annotations.json", "images": f"{split}/images"}
            for split in ("train", "val")
        },
        "classes": ["balloon"],
        "input_size": [64, 64],
        "batch_size": 2,
        "workers": 0,
    },
    "augmentation": {
        "stage2_epochs": 1,
        "resize_range": [0.5, 2.0],
        "multi_scale": [1.0, 1.5],
        "extra": [{"name": "GaussianBlur", "parameters": {"p": 0.3}}],
    },
    "train": {"epochs": 1, "learning_rate": 0.001, "warmup_iterations": 2, "device": "cpu", "output": "run"},
    "evaluation": {"score_threshold": 0.01, "nms_pre": 100, "max_detections": 50},
}


def _write_labels(folder: Path, coco: dict) -> None:
    """A YOLO text file and a VOC XML file for every image."""
    for name in ("labels", "voc"):
        (folder / name).mkdir()
    for image in coco["images"]:
        boxes = [entry["bbox"] for entry in coco["annotations"] if entry["image_id"] == image["id"]]
        stem = Path(image["file_name"]).stem
        lines = [f"0 {(x + w / 2) / SIDE} {(y + h / 2) / SIDE} {w / SIDE} {h / SIDE}\n" for x, y, w, h in boxes]
        (folder / "labels" / f"{stem}.txt").write_text("".join(lines))
        root = to_xml("annotation", voc_tree(image["file_name"], boxes))
        (folder / "voc" / f"{stem}.xml").write_bytes(ElementTree.tostring(root))


def voc_tree(file_name: str, boxes: list[list[float]]) -> dict:
    """A VOC label file as plain values."""
    objects = [
        {"name": "balloon", "difficult": "0", "bndbox": {"xmin": x + 1, "ymin": y + 1, "xmax": x + w, "ymax": y + h}}
        for x, y, w, h in boxes
    ]
    return {"filename": file_name, "size": {"width": SIDE, "height": SIDE, "depth": 3}, "object": objects}


def to_xml(name: str, value: object) -> ElementTree.Element:
    """Plain values as elements: a list becomes elements of one name."""
    element = ElementTree.Element(name)
    if isinstance(value, dict):
        for key, item in value.items():
            for one in item if isinstance(item, list) else [item]:
                element.append(to_xml(str(key) or "_", one))
    else:
        element.text = str(value)
    return element
