"""Arguments of public functions: what fits their annotations passes unchanged, anything else is named."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from rtmdet.core.arguments import check_fields, checked
from rtmdet.core.errors import InputError
from rtmdet.core.paths import FilePath

if TYPE_CHECKING:
    from decimal import Decimal


@checked
def echo(
    path: FilePath | None = None,
    *,
    count: int = 1,
    share: float = 0.5,
    flag: bool = False,
    score: float | Sequence[float] = 0.5,
    size: tuple[int, int] = (1, 1),
    names: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
) -> "Decimal | tuple[object, ...]":  # the result's type need not be imported
    """Returns its arguments."""
    return path, count, share, flag, score, size, names, settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", "a"), ("path", Path("a")), ("path", None), ("count", np.int64(3)), ("share", 1),
        ("share", np.float32(0.5)), ("flag", True), ("score", [0.5, 1]), ("score", np.array([0.5])),
        ("score", torch.tensor([0.5, 0.25])), ("size", [3, 4]), ("size", np.array([3, 4])), ("names", ["a"]),
        ("names", ()), ("settings", {"a": object()}),
    ],
)  # fmt: skip
def test_what_fits_passes_as_it_is_or_as_python_s_own(name: str, value: object) -> None:
    order = ("path", "count", "share", "flag", "score", "size", "names", "settings")
    result = echo(**{name: value})
    assert isinstance(result, tuple)
    found = result[order.index(name)]
    expected = value.tolist() if isinstance(value, np.generic | np.ndarray | torch.Tensor) else value
    assert (found, type(found)) == (expected, type(expected))


def test_iterables_become_lists() -> None:
    for names in ((name for name in "ab"), {"a": 1, "b": 2}.keys()):
        assert echo(names=names)[6] == ["a", "b"]  # type: ignore[arg-type, index]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("path", 5, "path: expected text or a path or None, found 5"),
        ("count", "8", "count: expected a whole number, found '8'"),
        ("count", 2.0, "count: expected a whole number, found 2.0"),
        ("count", True, "count: expected a whole number, found True"),
        ("share", "x", "share: expected a number, found 'x'"),
        ("flag", 1, "flag: expected True or False, found 1"),
        ("score", ["x"], "score: expected a number or a list of numbers, found ['x']"),
        ("score", np.array(["x"]), "score: expected a number or a list of numbers, found array(['x'], dtype='<U1')"),
        ("size", (3,), "size: expected (a whole number, a whole number), found (3,)"),
        ("size", 3, "size: expected (a whole number, a whole number), found 3"),
        ("names", "abc", "names: expected a list of texts, found 'abc'"),
        ("names", [1], "names: expected a list of texts, found [1]"),
        ("settings", [1], "settings: expected a dict or None, found [1]"),
    ],
)
def test_what_does_not_fit_is_named(name: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        echo(**{name: value})


def test_long_values_are_cut_and_stay_on_one_line() -> None:
    with pytest.raises(InputError) as caught:
        echo(count=np.zeros((40, 40)))  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 150


def test_arguments_in_order_are_checked_too() -> None:
    with pytest.raises(InputError, match=r"^path: "):
        echo(5)  # type: ignore[arg-type]


def test_unknown_and_missing_arguments_are_python_s_own_errors() -> None:
    with pytest.raises(TypeError, match="unexpected"):
        echo(pth="a")  # type: ignore[call-arg]


def test_the_function_keeps_its_name_and_documentation() -> None:
    assert (echo.__name__, echo.__doc__) == ("echo", "Returns its arguments.")


@dataclass(frozen=True, slots=True)
class Rule:
    share: float

    def __post_init__(self) -> None:
        check_fields(self)


def test_fields_of_a_dataclass() -> None:
    assert Rule(1).share == 1
    with pytest.raises(InputError, match=r"^share: expected a number, found 'x'$"):
        Rule("x")  # type: ignore[arg-type]
