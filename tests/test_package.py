"""What an installed package offers: its public names, its types, and errors that callers can catch."""

from __future__ import annotations

import configparser
from pathlib import Path

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


def test_bad_input_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)
