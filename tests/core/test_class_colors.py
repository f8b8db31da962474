"""Colors of classes: the same for a name everywhere, well apart within a list."""

import cv2
import numpy as np
import pytest

from rtmdet.core.class_colors import COCO, Color, class_colors, palette


def distances(colors: list[Color]) -> np.ndarray:
    """How far each two colors are apart to the eye."""
    lab = cv2.cvtColor(np.array(colors, np.float32)[None] / 255, cv2.COLOR_RGB2LAB)[0]
    return np.linalg.norm(lab[:, None] - lab[None], axis=-1)[~np.eye(len(colors), dtype=bool)]


def test_palette_does_not_depend_on_the_count() -> None:
    many = palette(300)
    assert many[:7] == palette(7)
    assert palette(0) == []
    assert len(many) == 300


@pytest.mark.parametrize(("count", "distance"), [(8, 50), (20, 30), (80, 10)])
def test_palette_is_well_apart_to_the_eye(count: int, distance: float) -> None:
    assert distances(palette(count)).min() > distance


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
    assert distances(class_colors(names)).min() > 30


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
