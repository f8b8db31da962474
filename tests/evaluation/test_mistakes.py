"""What is missed, false or confused: by hand."""

import numpy as np
import pytest

from rtmdet.data.coco.dataset import index_coco
from rtmdet.data.coco.file import CocoFile
from rtmdet.evaluation.coco import CocoEvaluator
from rtmdet.evaluation.mistakes import Kind, Mistakes, find_mistakes

CAT, DOG = 0, 1  # labels
IDS = (7, 3)  # their categories
SQUARE = (10, 10, 20, 20)


def entry(number: int, box: tuple[float, ...], label: int, *, image: int = 1, crowd: int = 0) -> dict[str, object]:
    area = box[2] * box[3]
    place = {"id": number, "image_id": image, "category_id": IDS[label]}
    return {**place, "bbox": list(box), "area": area, "iscrowd": crowd}


def mistakes(objects: list[dict[str, object]], found: dict[int, list[tuple[float, ...]]]) -> Mistakes:
    """`found` are rows of x, y, width, height, score, label."""
    images = [{"id": number, "file_name": f"{number}.png", "width": 100, "height": 100} for number in (1, 2)]
    categories = [{"id": IDS[CAT], "name": "cat"}, {"id": IDS[DOG], "name": "dog"}]
    file: CocoFile = {"images": images, "annotations": objects, "categories": categories}  # type: ignore[typeddict-item]
    rows = {image: np.array(each, np.float64) for image, each in found.items()}
    return find_mistakes(index_coco(file), IDS, rows, thresholds=(0.3, 0.5))


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        ((*SQUARE, 0.9, CAT), [Kind.FOUND]),
        ((*SQUARE, 0.3, CAT), [Kind.FOUND]),  # at its threshold
        ((*SQUARE, 0.29, CAT), [Kind.MISSED]),
        ((*SQUARE, 0.9, DOG), [Kind.CONFUSED]),
        ((*SQUARE, 0.4, DOG), [Kind.MISSED]),  # below that of dogs
        ((10, 10, 20, 10.1, 0.9, CAT), [Kind.FOUND]),  # IoU 0.505
        ((10, 10, 20, 9.9, 0.9, CAT), [Kind.FALSE, Kind.MISSED]),
    ],
)
def test_one_box_and_one_object(row: tuple[float, ...], kinds: list[Kind]) -> None:
    found = mistakes([entry(1, SQUARE, CAT)], {1: [row]})
    wrong = [box for image in found.images for box in image.boxes]
    assert [box.kind for box in wrong] == [kind for kind in kinds if kind is not Kind.FOUND]
    assert found.counts == dict.fromkeys(kinds, 1)
    assert all(box.box == (10, 10, 30, 30) for box in wrong if box.kind is Kind.MISSED)


def test_each_object_is_found_once_by_the_surest_box_and_its_class_goes_first() -> None:
    objects = [entry(1, SQUARE, CAT), entry(2, (60, 60, 20, 20), DOG), entry(3, (10, 60, 20, 20), CAT, image=2)]
    rows = [(*SQUARE, 0.9, DOG), (*SQUARE, 0.8, CAT), (11, 10, 20, 20, 0.7, CAT), (60, 60, 20, 20, 0.6, CAT)]
    found = mistakes(objects, {1: rows})
    assert [image.image_id for image in found.images] == [1, 2], "three mistakes, one"
    first = found.images[0]
    assert [(box.kind, box.pair.detected, box.score, box.pair.truth) for box in first.boxes] == [
        (Kind.FALSE, "dog", 0.9, ""), (Kind.FALSE, "cat", 0.7, ""), (Kind.CONFUSED, "cat", 0.6, "dog"),
        (Kind.FOUND, "cat", 0.8, "cat"),
    ]  # fmt: skip
    assert found.pairs == {("cat", "cat"): 1, ("dog", "cat"): 1, ("cat", ""): 1, ("", "dog"): 1, ("", "cat"): 1}
    assert found.classes == ("cat", "dog")
    assert str(found).splitlines() == [
        "of 3 objects at the score thresholds, IoU 0.5: 1 found, 1 as another class, 1 missed, 2 false boxes",
        "  dog taken for cat: 1",
    ]


def test_classes_in_the_wrong_order() -> None:
    """Two cats that are called dogs; with a third that is found, they are a confusion as others are."""
    boxes = [(30 * place, 10, 20, 20) for place in range(3)]
    wrong = [(*box, 0.9, DOG) for box in boxes]
    objects = [entry(place, box, CAT) for place, box in enumerate(boxes, start=1)]
    assert mistakes(objects, {1: wrong}).exchanged == [("cat", "dog")]
    assert mistakes(objects, {1: wrong[:1]}).exchanged == []  # most are missed
    assert mistakes(objects, {1: [*wrong[:2], (*boxes[2], 0.9, CAT)]}).exchanged == []


def test_classes_that_the_file_lacks_are_not_compared() -> None:
    """As in the metrics: nobody labeled them."""
    categories = [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog", "absent": True}]
    file = {"images": [{"id": 1, "file_name": "a.png", "width": 99, "height": 99}], "annotations": []}
    evaluator = CocoEvaluator(index_coco({**file, "categories": categories}), (7, 8))  # type: ignore[typeddict-item]
    evaluator.add_rows(1, np.array([(*SQUARE, 0.9, 1), (*SQUARE, 0.8, 0)]))
    assert evaluator.mistakes((0.3, 0.3)).counts == {Kind.FALSE: 1}


def test_boxes_in_crowds_count_for_nothing() -> None:
    objects = [entry(1, (0, 0, 100, 100), CAT, crowd=1)]
    assert mistakes(objects, {1: [(*SQUARE, 0.9, CAT)]}).counts == {}
    assert mistakes(objects, {1: [(*SQUARE, 0.9, DOG)]}).counts == {Kind.FALSE: 1}
    assert mistakes([], {}).images == ()
