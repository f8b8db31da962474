"""Colors of classes: the same for a name everywhere, well apart within a list."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from rtmdet.core.class_colors import COCO, Color, class_colors, palette

# Machado, Oliveira and Fernandes, 2009, severity 1: linear RGB as seen by people without one kind of cones.
WITHOUT_GREEN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
WITHOUT_RED = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]


def distances(colors: list[Color], cones: Sequence[Sequence[float]] = tuple(np.eye(3).tolist())) -> np.ndarray:
    """How far each two colors are apart to the eye."""
    linear = (np.array(colors, np.float32) / 255) ** 2.2 @ np.float32(cones).T
    lab = cv2.cvtColor(linear.clip(0, 1)[None] ** (1 / 2.2), cv2.COLOR_RGB2LAB)[0]
    return np.linalg.norm(lab[:, None] - lab[None], axis=-1)[~np.eye(len(colors), dtype=bool)]


def test_palette_does_not_depend_on_the_count() -> None:
    many = palette(300)
    assert many[:7] == palette(7)
    assert palette(0) == []
    assert len(many) == 300


@pytest.mark.parametrize(("count", "normal", "blind"), [(6, 60, 30), (10, 35, 20), (16, 30, 15), (24, 22, 10)])
def test_palette_is_well_apart_to_the_eye(count: int, normal: float, blind: float) -> None:
    """Colors closer than about 15 look alike; the whole palette cannot be apart without one kind of cones."""
    assert distances(palette(count)).min() > normal
    assert distances(palette(count), WITHOUT_GREEN).min() > blind
    assert distances(palette(count), WITHOUT_RED).min() > blind


def test_a_class_has_its_color_in_every_list() -> None:
    (crater,) = class_colors(["crater"])
    assert class_colors(["rock", "Crater"])[1] == crater
    person = class_colors(COCO)[0]
    assert class_colors(["a", "b", "c", "balloon", "person"])[-1] == class_colors(["person"])[0] == person
    names = ["RBC", "WBC", "Platelets"]
    assert dict(zip(names, class_colors(names), strict=True)) == dict(
        zip(names[::-1], class_colors(names[::-1]), strict=True)
    )


@pytest.mark.parametrize(
    "names",
    [
        [f"class {number}" for number in range(12)],
        ["cat", "cats", "cat 1", "cat 2", "bat", "Cat_3"],
        ["RBC", "WBC", "Platelets"],
        [chr(97 + number) for number in range(14)],
    ],
)
def test_classes_of_a_list_look_different(names: list[str]) -> None:
    assert distances(class_colors(names)).min() > 20
    assert min(distances(class_colors(names), cones).min() for cones in (WITHOUT_GREEN, WITHOUT_RED)) > 10


def test_a_displaced_class_takes_no_color_of_another() -> None:
    """A name gets its own color in every list, except where one before it has the same."""
    names = [f"thing {number}" for number in range(40)]
    own = dict(zip(names, (class_colors([name])[0] for name in names), strict=True))
    kept = 0
    for first, second, third in zip(names, names[1:], names[2:], strict=False):
        found = dict(zip((third, second, first), class_colors([third, second, first]), strict=True))
        assert found == dict(zip((first, second, third), class_colors([first, second, third]), strict=True))
        for name in found:
            if not any(own[other] == own[name] for other in found if other < name):
                assert found[name] == own[name]
                kept += 1
    assert kept > 100


def test_long_lists_and_none() -> None:
    assert class_colors([]) == []
    assert len(class_colors([f"name {number}" for number in range(400)])) == 400
    assert len(set(class_colors(COCO))) == 80
