"""Findings of hotcoco's healthcheck: elongated boxes, classes with no or few objects.

The only module of rtmdet/data that imports hotcoco.
"""

from collections.abc import Iterator, Sequence

import hotcoco
import numpy as np

from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.wording import one_line
from rtmdet.data.coco.file import CocoAnnotation
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding, Item

CLASS_FINDINGS = {
    "zero_instance_category": ("empty-class", "classes without objects", "annotate some, or remove the class"),
    "low_instance_category": ("few-objects", "classes with fewer than 10 objects", "annotate more of them"),
}


def find_with_hotcoco(file: AnnotationFile, usable: Sequence[CocoAnnotation], wanted: set[int]) -> Iterator[Finding]:
    """Findings about usable boxes and the classes with the ids `wanted`. Raises InputError where hotcoco fails."""
    affected = _ask_hotcoco(file, usable)
    found = [usable[index - 1] for index in sorted(affected.get("extreme_aspect_ratio", ()))]  # numbered from 1
    longest_first = sorted(found, key=_elongation, reverse=True)
    items = [file.box_item(annotation, f"{annotation['bbox']}") for annotation in longest_first]
    advice = "check that they are right: a shift of a few pixels costs them much IoU"
    yield file.finding("hint", "elongated-box", "very long and thin boxes", advice, items)
    classes = list(file.categories.items())
    for key, words in CLASS_FINDINGS.items():
        few = [classes[index] for index in sorted(affected.get(key, ()))]
        items = [Item(repr(category["name"])) for identifier, category in few if identifier in wanted]
        yield file.finding("warning" if file.source.name == "train" else "hint", *words, items)


def _elongation(annotation: CocoAnnotation) -> float:
    """The longer side of a box divided by the shorter one."""
    _, _, width, height = annotation["bbox"]
    return max(width, height) / max(min(width, height), 1e-6)


def _ask_hotcoco(file: AnnotationFile, usable: Sequence[CocoAnnotation]) -> dict[str, list[int]]:
    """The indices affected by each warning."""
    # Indices instead of ids: hotcoco need not cope with unusual ids in a file.
    images = {image_id: index for index, image_id in enumerate(file.images)}
    categories = {category_id: index for index, category_id in enumerate(file.categories)}
    try:
        coco = hotcoco.COCO.from_arrays(
            [
                {"id": images[key], "width": image["width"], "height": image["height"]}
                for key, image in file.images.items()
            ],
            [{"id": index, "name": str(index)} for index in categories.values()],
            np.array([images[annotation["image_id"]] for annotation in usable], np.int64),
            np.array([categories[annotation["category_id"]] for annotation in usable], np.int64),
            np.array([annotation["bbox"] for annotation in usable], np.float64).reshape(-1, 4),
            area=np.array([annotation["area"] for annotation in usable], np.float64),
            iscrowd=np.array([annotation["iscrowd"] for annotation in usable], np.bool_),
        )
        warnings = coco.healthcheck()["warnings"]
    except Exception as error:
        blame_memory(error)
        raise InputError(f"{file.source.annotations}: hotcoco cannot check the file ({one_line(error)})") from error
    return {warning["code"]: warning["affected_ids"] for warning in warnings}
