"""Limits and spellings that the types of the settings carry, as a file, an override and Python code meet them."""

import re
from dataclasses import fields, replace

import pytest

from rtmdet.config.file import parse_config
from rtmdet.config.schema import Config, RangeError, kinds
from rtmdet.core.errors import InputError

DATA = "data: {train: {annotations: a, images: b}, val: {annotations: c, images: d}}"


def configured(*overrides: str) -> Config:
    return parse_config(DATA, "run.yaml", overrides)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.norm_statistics=x", "model.norm_statistics is 'x': expected one of keep, recalibrate, freeze"),
        ("model.backbone=vgg", "model.backbone is 'vgg': expected timm/<name>, such as timm/resnet18, or none"),
        ("data.input_size=32", "data.input_size is [32, 32]: expected one side of 64 or more"),
        ("data.input_size=64x50", "data.input_size is [64, 50]: expected multiples of 32 from 32 to 8192"),
        ("data.value_range=5,5", "data.value_range is [5, 5]: expected 0 <= low < high"),
        ("data.repeat_threshold=2", "data.repeat_threshold is 2.0: expected 0 .. 1"),
        ("data.classes=[a, a]", "data.classes is ['a', 'a']: expected different names, at least one"),
        ("augmentation.hsv=[5, -1, 0]", "augmentation.hsv is [5, -1, 0]: expected 0 or more each"),
        ("train.save_every=0", "train.save_every is 0: expected at least 1"),
        ("train.weight_decay=-1", "train.weight_decay is -1.0: expected 0 or more"),
        ("evaluation.backend=x", "evaluation.backend is 'x': expected one of pycocotools, hotcoco"),
        ("evaluation.input_size=[8224, 64]", "evaluation.input_size is [8224, 64]: expected multiples of 32"),
    ],
)
def test_says_what_was_expected_and_what_was_found(override: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        configured(override)
    assert str(caught.value).startswith(f"--set {override}: {expected}")


def test_limits_also_hold_for_a_copy_made_in_python() -> None:
    train = configured().train
    with pytest.raises(RangeError, match=r"^train\.epochs is 0: expected at least 1$") as caught:
        replace(train, epochs=0)
    assert caught.value.key == "train.epochs"


def test_none_has_no_limits_and_the_ends_are_within_them() -> None:
    config = configured("train.patience=null", "train.seed=9223372036854775807", "evaluation.input_size=32")
    assert (config.train.patience, config.train.seed) == (None, 2**63 - 1)
    assert config.evaluation.input_size == (32, 32)  # the limit of 64 is one of training


def test_no_number_is_without_limits() -> None:
    settings = [(item.name, kind) for item in fields(Config) for kind in kinds(kinds(Config)[item.name]).items()]
    assert len(settings) > 50
    bare = {int, float, int | None, float | None, tuple[int, int], tuple[float, float], tuple[int, int, int]}
    assert not [(section, name) for section, (name, kind) in settings if kind in bare]


def test_another_spelling_belongs_to_the_types_that_name_it() -> None:
    config = configured("data.value_range=100 , 4000", "data.input_size=96x64", "model.weights=~/a.pth")
    assert (config.data.value_range, config.data.input_size) == ((100, 4000), (96, 64))
    assert config.model.weights is not None
    assert not config.model.weights.startswith("~")


@pytest.mark.parametrize("text", ["{}", "[{}]", "'{}'"])
def test_every_list_of_numbers_may_be_written_with_commas_alone(text: str) -> None:
    found = 0
    for section, part in kinds(Config).items():
        for name, kind in kinds(part).items():
            match = re.search(r"tuple\[((?:int|float)(?:, (?:int|float))*)\]", str(kind))
            if match:
                numbers = [64, 96, 128][: match[1].count(",") + 1]
                override = f"{section}.{name}={text.format(', '.join(map(str, numbers)))}"
                assert getattr(getattr(configured(override), section), name) == tuple(numbers)
                found += 1
    assert found >= 6
    assert configured("augmentation.multi_scale=0.5,1.5").augmentation.multi_scale == (0.5, 1.5)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("augmentation.hsv=5,30", "augmentation.hsv should be 3 numbers such as 1,2,3, found '5,30'"),
        ("augmentation.multi_scale=0.5", "augmentation.multi_scale should be 2 numbers such as 1,2, found '0.5'"),
        ("augmentation.resize_range=0.5,b", "augmentation.resize_range[1] should be a number, found 'b'"),
        ("augmentation.resize_range=2,1", "augmentation.resize_range is [2.0, 1.0]: expected 0 < low <= high"),
        ("data.value_range=5", "data.value_range should be 2 numbers such as 1,2, found '5'"),
        ("data.value_range=1,2.5", "data.value_range[1] should be a whole number, found '2.5'"),
        ("data.classes=1,2", "data.classes should be a list, found '1,2'"),
    ],
)
def test_a_wrong_list_names_the_form(override: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        configured(override)
    assert str(caught.value) == f"--set {override}: {expected}"


def test_a_folder_may_be_named_by_a_date() -> None:
    assert configured("train.output=2024-01-01").train.output == "2024-01-01"


def test_loader_processes_have_a_limit() -> None:
    with pytest.raises(InputError, match=r"data\.workers.* 0 to 256"):
        configured("data.workers=1000000")
