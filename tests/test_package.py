"""What an installed package offers: its public names, its types, and errors that callers can catch."""

import configparser
import re
from pathlib import Path

import pytest

import rtmdet
from rtmdet.core.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def test_all_public_names_are_there() -> None:
    names = {name: getattr(rtmdet, name) for name in rtmdet.__all__}
    assert {"Detections", "Detector", "InputError"} <= set(names)
    assert names["InputError"] is InputError
    assert rtmdet._HOMES.keys() == set(rtmdet.__all__) - {"__version__"}


def test_types_are_shipped() -> None:
    """A wheel without py.typed is untyped to its users; a checkout would not show it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert "py.typed" in config["options.package_data"]["rtmdet"].split()
    assert (ROOT / "rtmdet" / "py.typed").is_file()


@pytest.mark.parametrize(
    ("function", "arguments", "named", "words"),
    [
        ("check_data", [None], {}, "data: expected text or a path, found None"),
        ("compare", [1, "b"], {}, "a: expected Detector or text or a path, found 1"),
        ("evaluate", ["x.pth"], {"batch_size": "8"}, "batch_size: expected a whole number, found '8'"),
        ("export", ["x.pth", "onnx"], {}, "formats: expected a list of texts, found 'onnx'"),
        ("label", ["x.pth", 3], {"format": "coco", "out": "y"}, "photos: expected text or a path or a list of texts"),
        ("track", [None, "x.mp4"], {}, "detector: expected Detector, found None"),
        ("train", ["x"], {"epochs": "3"}, "epochs: expected a whole number or None, found '3'"),
        ("train", ["x"], {"settings": [3]}, "settings: expected a dict or None, found [3]"),
        ("train", ["x"], {"callbacks": [print]}, "callbacks: expected a list of Callbacks, found [<built-in"),
        ("build_rtmdet", ["nano", "3"], {}, "num_classes: expected a whole number, found '3'"),
        ("draw_box_am", ["x.pth", "y.jpg"], {"layers": 3}, "layers: expected text or a list of texts or None, found"),
        ("draw_feature_maps", [3, "y.jpg"], {}, "detector: expected Detector or text or a path, found 3"),
        ("NmsSettings", ["0.6"], {}, "iou_threshold: expected a number, found '0.6'"),
        ("Detector", [5], {}, "weights: expected text or a path, found 5"),
        ("Detector", ["x.pth"], {"device": 0}, "device: expected text or a torch.device, found 0"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(
    function: str, arguments: list[object], named: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(words)}"):
        getattr(rtmdet, function)(*arguments, **named)


def test_bad_input_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)
