"""Whole sections among the settings: key by key, beside what is derived."""

import pytest

from rtmdet.config.file import SECTIONS
from rtmdet.runs.options import RunOptions


def test_sections() -> None:
    assert {"data", "data.train", "data.val", "model", "augmentation", "train", "evaluation"} == SECTIONS


@pytest.mark.parametrize(
    ("override", "given"),
    [
        ("train={epochs: 3, output: runs/x}", {"train.epochs": "3", "train.output": "runs/x"}),
        ("data={train: {images: a b}, input_size: [320, 416]}",
         {"data.train.images": "a b", "data.input_size": "[320, 416]"}),
        ('train={"learning_rate": 0.001, "device": null}', {"train.learning_rate": "0.001", "train.device": "null"}),
        ("augmentation.extra=[{name: D4}]", {"augmentation.extra": "[{name: D4}]"}),
        ("train={}", {}),
        ("train={output: 010}", {"train.output": "010"}),
        ("train=7", {"train": "7"}),
    ],
)  # fmt: skip
def test_a_section_is_its_settings(override: str, given: dict[str, str]) -> None:
    assert RunOptions(overrides=(override,)).given == given
