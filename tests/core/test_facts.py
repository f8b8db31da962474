"""What travels with a network: exported files carry it as text."""

from pathlib import Path

import pytest

from rtmdet.core.errors import InputError
from rtmdet.core.facts import (
    ExportFacts,
    ModelFacts,
    NmsFacts,
    check_names,
    read_facts,
    read_nms,
    read_tiling,
)
from rtmdet.core.nms import NmsSettings
from rtmdet.core.tiling import Tiling

VOTING = NmsSettings(0.6, box_voting=True)
YAML = "data: {tile: 800}\nevaluation: {iou_threshold: 0.5}\n"


def test_exported_files_carry_the_rules() -> None:
    facts = ExportFacts(
        ModelFacts(("a",), (64, 64), nms=VOTING, tiling=Tiling(640), config=YAML), version="1", weights=""
    )
    text = facts.to_text()
    assert (text["iou_threshold"], text["box_voting"], text["tile"]) == ("0.6", "true", "640")
    assert read_facts(Path("a.onnx"), text) == facts
    for name in ("iou_threshold", "box_voting", "tile", "int8", "category_ids"):
        rest = {key: value for key, value in text.items() if key != name}
        with pytest.raises(InputError, match=rf"its metadata is damaged \(KeyError: '{name}'\): export it again"):
            read_facts(Path("a.onnx"), rest)


def test_a_detector_without_windows_has_none_whatever_its_training_had() -> None:
    facts = ExportFacts(ModelFacts(("a",), (64, 64), config=YAML), version="1", weights="")
    assert read_facts(Path("a.onnx"), facts.to_text()).model.tiling is None


@pytest.mark.parametrize(
    ("name", "value"), [("category_ids", "[4]"), ("category_ids", "[4, 4]"), ("score_thresholds", "[0.5]")]
)
def test_exported_files_have_one_value_for_each_class(name: str, value: str) -> None:
    model = ModelFacts(("a", "b"), (64, 64), category_ids=(4, 7), score_thresholds=(0.5, 0.6))
    text = ExportFacts(model, version="1", weights="").to_text()
    assert read_facts(Path("a.onnx"), text).model == model
    message = rf"a\.onnx: its metadata is damaged \(ValueError: {name} .* of 2 classes\): export it again"
    with pytest.raises(InputError, match=message):
        read_facts(Path("a.onnx"), {**text, name: value})


def test_stored_values_of_images_may_be_any_that_rise() -> None:
    model = ModelFacts(("a",), (64, 64), value_range=(0, 65536))  # as data.value_range allows
    text = ExportFacts(model, version="1", weights="").to_text()
    assert read_facts(Path("a.onnx"), text).model == model
    with pytest.raises(InputError, match="its metadata is damaged"):
        read_facts(Path("a.onnx"), {**text, "value_range": "[5, 2]"})
    with pytest.raises(InputError, match=r"class name 1: expected one line of at most 200 letters"):
        read_facts(Path("a.onnx"), {**text, "classes": '["a\\nb"]'})
    with pytest.raises(InputError, match=r"its metadata is damaged \(RecursionError: .*\): export it again"):
        read_facts(Path("a.onnx"), {**text, "classes": "[" * 200_000})


def test_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"iou_threshold 2\.0: expected 0 \.\. 1"):
        read_nms({"iou_threshold": 2, "box_voting": False})
    with pytest.raises(TypeError, match="box_voting 'no': expected true or false"):
        read_nms({"iou_threshold": 0.6, "box_voting": "no"})
    with pytest.raises(ValueError, match="tiles of 3 pixels: expected at least 32"):
        read_tiling({"tile": 3})
    with pytest.raises(InputError, match="NMS in the file drops the boxes that box voting needs"):
        ExportFacts(ModelFacts(("a",), (64, 64), nms=VOTING), "1", "", nms=NmsFacts(0.001, 0.6, 300))


@pytest.mark.parametrize("name", ["", " ", "line\nbreak", "bell\x07", "paragraph\u2029", "\u202ereversed", "a" * 201])
def test_class_names_are_one_line(name: str) -> None:
    with pytest.raises(InputError, match=r"class name 2: expected one line of at most 200 letters, found '"):
        check_names(["a", name])


def test_class_names_differ() -> None:
    check_names(["a", "A", "a b", "ä,ß"])
    with pytest.raises(InputError, match=r"class name 'a': expected different names, found it twice"):
        check_names(["a", "b", "a"])


@pytest.mark.parametrize("side", [0, 33, 8224, 10**9 // 32 * 32])
def test_sizes_that_no_input_has_are_refused(side: int) -> None:
    with pytest.raises(InputError, match="multiple of 32 pixels, at most 8192"):
        ModelFacts(("a",), (64, side))
