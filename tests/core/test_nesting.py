"""What a file unfolds to is bounded, however few bytes say it."""

from pathlib import Path

import pytest
import torch

from rtmdet.config.file import parse_config
from rtmdet.core.errors import InputError
from rtmdet.core.nesting import check_unfolding
from rtmdet.data.formats.yolo_layout import read_data_yaml
from rtmdet.weights.unpickling import read_pickled

BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def repeated(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value] * 8
    return value


@pytest.mark.parametrize("value", [{"a": [1, (2.5, None)], "b": {"c": "text"}}, repeated(5), "x" * 10**6])
def test_usual_values_pass(value: object) -> None:
    check_unfolding(value, "file")


@pytest.mark.parametrize("value", [repeated(40), ["x" * 10**7] * 8, {"a": repeated(8)}])
def test_repeated_values_are_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^file: expected at most 1000000 values, found more, as the same ones"):
        check_unfolding(value, "file")


def test_a_value_that_holds_itself_is_refused() -> None:
    value: dict = {"model": {}}
    value["model"]["test_cfg"] = value
    with pytest.raises(
        InputError, match=r"^file: expected values at most 100 levels deep, found deeper ones, or one"
    ):
        check_unfolding(value, "file")


def test_bombs_are_refused_in_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"{BOMB}path: *i\n")
    torch.save({"meta": {"size": repeated(30)}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"data\.yaml: expected at most 1000000 values"):
        read_data_yaml(tmp_path / "data.yaml")
    with pytest.raises(InputError, match=r"a\.pth: expected at most 1000000 values"):
        read_pickled(tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"^a\.yaml: expected at most 1000000 values"):
        parse_config(f"{BOMB}train: *i\n", "a.yaml")
    with pytest.raises(InputError, match=r"^a\.yaml: expected values at most 100 levels deep"):
        parse_config("foo: &x {foo: *x}\n", "a.yaml")
