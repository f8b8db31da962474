"""How many images an epoch of `--data` has, from which length, warm-up and batch size follow."""

import json
from pathlib import Path

import pytest

from rtmdet.config.schema import Config
from rtmdet.data.synthetic import write_dataset
from rtmdet.runs.options import RunOptions
from rtmdet.runs.settings.own_data import OwnData


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """6 images for training, of which 1 has no object and 1 alone has the class rare."""
    for seed, (split, count) in enumerate((("train", 6), ("val", 3))):
        write_dataset(tmp_path / split, count=count, seed=seed, size=(96, 96))
    file = tmp_path / "train" / "annotations.json"
    coco = json.loads(file.read_text())
    empty, rare = (entry["id"] for entry in coco["images"][:2])
    coco["annotations"] = [entry for entry in coco["annotations"] if entry["image_id"] != empty]
    coco["categories"].append({"id": 9, "name": "rare"})
    next(entry for entry in coco["annotations"] if entry["image_id"] == rare)["category_id"] = 9
    file.write_text(json.dumps(coco))
    return tmp_path


@pytest.mark.parametrize(
    ("setting", "images"),
    [
        ("data.keep_empty=false", 5),
        ("data.keep_empty=true", 6),
        ("data.classes=[rare]", 1),
        ("data.repeat_threshold=0.9", 6),  # the image with the rare class is shown twice: sqrt(0.9 / 0.2) times
    ],
)
def test_all_images_that_an_epoch_shows(
    folder: Path, capsys: pytest.CaptureFixture[str], setting: str, images: int
) -> None:
    config = configure(folder, setting)
    printed = capsys.readouterr().out
    assert f"{config.train.epochs * images} images seen" in printed
    assert f"with {images} images)" in printed


def configure(folder: Path, setting: str) -> Config:
    settings = (setting, "data.input_size=64", "data.workers=0", "model.size=nano", "train.device=cpu")
    options = RunOptions(data=folder, weights="none", overrides=settings)
    return OwnData.open(options, folder / "run").configure()
