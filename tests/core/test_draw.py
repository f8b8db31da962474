"""Drawing: the right pixels change, the input does not, and everything stays inside the picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rtmdet.core.class_colors import Color, palette
from rtmdet.core.detections import Detections
from rtmdet.core.draw import (
    FONT,
    _place_label,
    contrasting,
    draw_boxes,
    draw_polygons,
    line_width,
    save_image,
    shorten_text,
)
from rtmdet.core.errors import InputError
from rtmdet.viz.grid import fit_image, grid

RED, GREEN = (255, 0, 0), (0, 255, 0)


def gray(height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The xyxy bounds of the pixels that differ."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_box_is_a_frame_in_its_color() -> None:
    image = gray()
    drawn = draw_boxes(image, np.array([[20, 30, 100, 90]], np.float32), [""], [RED])
    np.testing.assert_allclose(changed(image, drawn), (19, 29, 101, 91), atol=1)  # the line lies on the border
    np.testing.assert_array_equal(drawn[35:85, 25:95], image[35:85, 25:95])
    left = drawn[60, 18:23].astype(int)
    assert left[:, 0].max() > 150
    assert left[:, 1:].max() <= 90
    assert (image == 90).all()


def test_no_boxes_change_nothing() -> None:
    image = gray()
    for drawn in (draw_boxes(image, np.zeros((0, 4)), [], []), draw_polygons(image, [], [])):
        assert drawn is not image
        np.testing.assert_array_equal(drawn, image)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 20, 20),
        (140, 100, 160, 120),
        (-30, -30, 10, 10),
        (150, 60, 400, 500),
        (70, 50, 90, 70),
        (9, 150, 60, 180),
    ],
)
def test_labels_stay_inside_the_picture(box: tuple[int, int, int, int]) -> None:
    image = gray()
    frame = draw_boxes(image, np.array([box]), [""], [GREEN])
    label = draw_boxes(image, np.array([box]), ["name"], [GREEN])
    left, top, right, bottom = changed(frame, label)
    ground = (label[top:bottom, left:right] == GREEN).all(axis=2)
    assert 20 < right - left < 60  # the whole label, not a piece that the border cut
    assert 8 < bottom - top < 24
    assert ground[0].sum() > 0.7 * (right - left)  # a filled margin above and below the text
    assert ground[-1].sum() > 0.7 * (right - left)


def test_long_names_are_shortened_to_the_picture() -> None:
    drawn = draw_boxes(gray(), np.array([[70, 50, 90, 70]]), ["a very long name " * 20], [GREEN])
    label = (drawn[:, -1] != 90).any(axis=1)  # at the border of the picture there is margin, not a cut letter
    assert not label.all()
    assert (drawn[label, -1] == GREEN).all()
    assert (drawn[:, :140] != drawn[0, 0]).any(axis=(0, 2)).sum() > 120  # and text fills most of the width


@pytest.mark.parametrize("text", ["w" * 5_000_000, "wi" * 40, "wi", ""])
def test_a_text_of_any_length_is_measured_a_few_times(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    measure, measured = cv2.getTextSize, list[str]()
    monkeypatch.setattr(cv2, "getTextSize", lambda shown, *rest: measured.append(shown) or measure(shown, *rest))
    for width in (0, 15, 100, 333, 5000):
        measured.clear()
        shown = shorten_text(text, width, 0.5)
        assert len(measured) < 20
        assert max(map(len, measured), default=0) < 6000
        longest = text[: width + 1]  # the rule: letter by letter from the end
        ends = [longest, *(f"{longest[:kept]}..." for kept in reversed(range(len(longest))))]
        assert shown == next((end for end in ends if measure(end, FONT, 0.5, 1)[0][0] <= width), ends[-1])


def test_lines_and_letters_grow_with_the_image() -> None:
    assert (line_width(gray(10, 10)), line_width(gray(1000, 2000))) == (1, 4)
    heights = []
    for side in (200, 2000):
        box = np.array([[side / 4, side / 2, side / 2, side * 0.75]])
        frame = draw_boxes(gray(side, side), box, [""], [RED])
        _, top, _, bottom = changed(frame, draw_boxes(gray(side, side), box, ["name"], [RED]))
        heights.append(bottom - top)
    assert heights[1] > 4 * heights[0]


def test_labels_of_a_crowd_lie_inside_the_picture_and_never_on_each_other() -> None:
    corners = np.random.default_rng(0).uniform(-20, 150, (60, 2))
    boxes = np.concatenate([corners, corners + 40], axis=1)
    labels = []
    for box in boxes:
        if (label := _place_label((120, 160), box, "name 0.50", labels)) is not None:
            labels.append(label)
    assert 5 < len(labels) < 60, "some find no place"  # the font is wider before OpenCV 5
    covered = np.zeros((120, 160), int)
    for label in labels:
        covered[label.top : label.top + label.height, label.left : label.left + label.width] += 1
    assert covered.max() == 1
    assert covered.sum() == sum(label.width * label.height for label in labels), "none is cut by the border"


def test_a_second_label_of_the_same_box_goes_below_it() -> None:
    box = np.array([40.0, 50, 80, 80])
    first = _place_label((120, 160), box, "cat 0.5", [])
    assert first is not None
    assert first.top + first.height == 50
    second = _place_label((120, 160), box, "dog 0.4", [first])
    assert second is not None
    assert second.top == 80
    assert _place_label((30, 60), np.array([0.0, 0, 60, 30]), "x", []) is None, "it would hide half of the object"


def test_small_boxes_have_small_letters_and_fine_lines() -> None:
    large, small = (
        _place_label((1000, 1000), np.array([300.0, 300, 300 + side, 300 + side]), "name", []) for side in (400, 40)
    )
    assert large is not None
    assert small is not None
    assert small.capital < 0.7 * large.capital
    thin, thick = (draw_boxes(gray(1000, 1000), np.array([[300, 300, end, end]]), [""], [RED]) for end in (330, 700))
    assert (thin[315, 290:315] != 90).any(-1).sum() < (thick[315, 290:315] != 90).any(-1).sum()


def test_labels_of_many_small_boxes_in_a_large_picture_are_small() -> None:
    def height(*sides: int) -> int:
        boxes = np.array([[100.0, 500 * k, 100 + side, 500 * k + side] for k, side in enumerate(sides, 1)])
        texts = ["name", *[""] * (len(sides) - 1)]
        frame = draw_boxes(gray(3000, 4000), boxes, [""] * len(sides), [RED] * len(sides))
        _, top, _, bottom = changed(frame, draw_boxes(gray(3000, 4000), boxes, texts, [RED] * len(sides)))
        return bottom - top

    assert height(38) < 20
    assert height(38, 400, 400) > 40, "one small object among large ones has a label that is easily read"
    assert height(400, 38, 38) > 40, "a large one has its own size"


def test_labels_can_be_hidden() -> None:
    box, score, label = torch.tensor([[20.0, 60, 100, 90]]), torch.tensor([0.5]), torch.tensor([1])
    found = Detections(box, score, label, classes=("cat", "dog"))
    frame, labeled = (found.draw(gray(), labels=shown) for shown in (False, True))
    assert changed(gray(), frame)[1] >= 58
    assert changed(gray(), labeled)[1] < 50


def test_a_label_that_is_too_long_keeps_its_score() -> None:
    """Also the shortest names do; what fits is not changed."""
    labels = [
        _place_label((120, 160), np.array([20, 60, 60, 90]), text, []) for text in ("x" * 60 + " 0.87", "x 0.87")
    ]
    assert all(label is not None and label.width <= 160 for label in labels)
    assert [label.text.split()[-1] for label in labels if label is not None] == ["0.87", "0.87"]
    assert labels[0] is not None
    assert labels[0].text.startswith("xxx")
    assert "... " in labels[0].text
    assert labels[1] is not None
    assert labels[1].text == "x 0.87"


def test_text_contrasts_with_its_ground() -> None:
    """WCAG asks for 4.5 of small text; near-black on a color halfway between has a little less."""
    assert sum(contrasting((255, 255, 0))) < 100
    assert sum(contrasting((0, 0, 160))) == 3 * 255

    def luminance(color: Color) -> float:
        return float((np.array(color) / 255) ** 2.2 @ [0.2126, 0.7152, 0.0722])

    for color in palette(200):
        dark, light = sorted(luminance(one) + 0.05 for one in (color, contrasting(color)))
        assert light / dark > 4.2, color


def test_polygons_are_translucent_inside_and_absent_outside() -> None:
    image = gray()
    square = np.array([[20.0, 30], [100, 30], [100, 90], [20, 90]])
    drawn = draw_polygons(image, [square], [RED])
    np.testing.assert_allclose(drawn[60, 60], [0.6 * 90 + 0.4 * 255, 54, 54], atol=1)
    np.testing.assert_array_equal(drawn[:, 110:], image[:, 110:])
    assert (image == 90).all()


def test_coordinates_far_away_do_no_harm() -> None:
    image = gray()
    drawn = draw_boxes(image, np.array([[20, 30, 1e11, 1e11]]), ["far"], [RED])
    assert drawn[100, 19:22, 0].max() > 150  # the left side is seen down to the border
    drawn = draw_polygons(image, [np.array([[-1e11, 60], [1e11, 60], [60, 1e11]])], [RED])
    assert (drawn[110, 60] != image[110, 60]).any()


@pytest.mark.parametrize("size", [(30, 40), (120, 160), (600, 800)])
def test_all_lines_of_a_box_at_the_edge_are_seen(size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((height, width, 3), 90, np.uint8)
    for box in ((0, 0, width, height), (-3, -2, width + 5, height + 9)):
        drawn = draw_boxes(image, np.array([box], np.float64), [""], [RED])
        for edge in (drawn[:2], drawn[-2:], drawn[:, :2], drawn[:, -2:]):
            assert (edge[..., 0] > 200).mean() > 0.4
    outside = draw_boxes(image, np.array([[-90, 2, -50, 9]], np.float64), [""], [RED])
    assert (outside == image).all()


def test_grid_places_images_row_by_row() -> None:
    colors = [RED, GREEN, (0, 0, 255)]
    images = [np.full((20, 30, 3), color, np.uint8) for color in colors]
    picture = grid(images, 2, (40, 60))
    assert picture.shape == (2 * 48 + 8, 2 * 68 + 8, 3)
    for index, color in enumerate(colors):
        row, column = divmod(index, 2)
        np.testing.assert_array_equal(picture[8 + row * 48 + 20, 8 + column * 68 + 30], color)
    assert grid(images[:1], 4, (40, 60)).shape == (56, 76, 3)


def test_grid_keeps_shapes_and_writes_titles() -> None:
    tall = np.zeros((60, 20, 3), np.uint8)
    bare, titled = (grid([tall], 1, (60, 60), [title]) for title in ("", "name.jpg"))
    dark = np.nonzero((bare == 0).all(axis=2))
    assert (np.ptp(dark[0]) + 1, np.ptp(dark[1]) + 1) == (60, 20)
    assert (dark[1].min(), dark[1].max() + 1) == (158, 178)  # in the middle of its cell, wide enough for a title
    assert changed(bare, titled)[3] <= dark[0].min()


def test_long_titles_end_in_dots() -> None:
    image = np.zeros((60, 320, 3), np.uint8)
    bare, titled = (grid([image], 1, (60, 320), [title]) for title in ("", "l" * 500))
    left, _, right, _ = changed(bare, titled)
    ink = [np.flatnonzero((bare[:, column] != titled[:, column]).any(axis=1)) for column in range(left, right)]
    assert np.ptp(ink[0]) > 4  # a letter first,
    assert np.ptp(ink[-1]) < 4  # a dot last, not a cut letter


def test_fit_image_fits_and_copies() -> None:
    assert fit_image(gray(300, 100), (60, 60)).shape == (60, 20, 3)
    assert fit_image(gray(3, 1), (60, 60)).shape == (60, 20, 3)
    image = gray(60, 20)
    fit_image(image, (60, 60))[:] = 0
    assert (image == 90).all()


def test_save_image_makes_the_folder_and_keeps_rgb(tmp_path: Path) -> None:
    image = np.full((4, 5, 3), (250, 120, 10), np.uint8)
    save_image(tmp_path / "new" / "a.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1], image)


def test_save_image_tells_what_is_wrong(tmp_path: Path) -> None:
    for name in ("a", "a.unknown"):
        with pytest.raises(InputError, match="expected an image suffix"):
            save_image(tmp_path / name, gray())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_image(tmp_path / "file" / "a.png", gray())
