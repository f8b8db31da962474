"""What the readers of all formats give, images with their objects, and the COCO file made of them.

Frame: pixels of the original image.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.facts import check_names
from rtmdet.core.wording import LONGEST_LINE, is_one_line, shortened, shown
from rtmdet.data.coco.file import CocoCategory, CocoFile, box_annotation
from rtmdet.data.coco.repairs import ROUNDING, clipped_remark, join_repeated_images, overhang, repeated_images_remark
from rtmdet.data.formats.faults import one_entry, raise_or_collect
from rtmdet.data.formats.outlines import Outline, around
from rtmdet.data.formats.splits import Split
from rtmdet.data.image_names import locate_images
from rtmdet.images.reading import check_size, image_size

WRONG_PIXELS = "too many to be an accident: are these the images that were labeled?"
WRONG_FRACTIONS = "too many to be an accident: are the numbers x center, y center, width, height?"


@dataclass(frozen=True, slots=True, eq=False)
class LabeledObject:
    """One object; all numbers are finite."""

    where: str  # label file and object, for messages
    name: str  # class name
    outline: Outline
    crowd: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LabeledImage:
    """One image with its objects."""

    label_file: Path
    file_name: str  # of the image, relative to the image folder
    objects: Sequence[LabeledObject]
    size: tuple[int, int] | None = None  # (H, W) in the label file, if given
    in_fractions: bool = False  # the polygons of the objects are in fractions of the image's size, not in pixels


def number_classes(names: Iterable[str]) -> dict[str, int]:
    """The category ids of class names, from 1."""
    return {name: number for number, name in enumerate(names, start=1)}


def choose_category_ids(images: Sequence[LabeledImage], wanted: Sequence[str] | None) -> dict[str, int]:
    """The category ids by class name: of `wanted`, or of the classes of all objects, sorted.

    Raises InputError for names that no file could hold, and if an object's class is not among `wanted`; while faults
    are collected, such classes have no id.
    """
    if wanted is not None:
        if not wanted:
            raise InputError("classes: expected one name or more, found none; leave it out for all classes")
        check_names(wanted := [name.strip() for name in wanted])
    names: set[str] = set()
    for found in (found for image in images for found in image.objects):
        if not is_one_line(found.name):
            raise_or_collect(
                f"{found.where}: expected a class name on one line of at most {LONGEST_LINE} letters, found "
                f"{shown(found.name)}; rename it"
            )
        elif wanted is not None and found.name not in wanted:
            known = shortened(map(repr, wanted), 10)
            text = f"class {found.name!r} is not among [{known}]; add it or correct the object"
            raise_or_collect(f"{found.where}: {text}")
        else:
            names.add(found.name)
    return number_classes(sorted(names) if wanted is None else wanted)


def assemble(
    annotations: Path,
    images: Sequence[LabeledImage],
    folder: Path,
    ids: Mapping[str, int],
    remarks: Sequence[str],
    *,
    first_id: int = 1,
) -> Split:
    """Convert images to COCO, with the category ids by class name; images count from `first_id`, objects from 1.

    Objects that extend beyond their images, whose sizes are read from the files in `folder`, are clipped; messages
    about missing files name `annotations`. Raises InputError for an image file that is missing or whose size differs
    from its label file, and for an object outside its image.
    """
    files, renamed = locate_images(annotations, folder, [image.file_name for image in images])
    beyond, in_fractions = 0, any(image.in_fractions for image in images)
    placed = ((files[image.file_name], image) for image in images if image.file_name in files)
    categories: list[CocoCategory] = [{"id": number, "name": name} for name, number in ids.items()]
    coco: CocoFile = {"images": [], "annotations": [], "categories": categories}
    for image_id, (file, image) in enumerate(placed, start=first_id):
        with one_entry():
            size = image_size(folder / file)
            check_size(folder / file, size, image.size or size, str(image.label_file))
            coco["images"].append({"id": image_id, "file_name": file, "width": size[1], "height": size[0]})
            for found in (found for found in image.objects if found.name in ids):
                with one_entry():
                    outline = _in_pixels(found, size) if image.in_fractions else found.outline
                    polygon, box = _clip(found.where, outline, size, outside=image.in_fractions)
                    beyond += overhang(outline[1], size) > ROUNDING
                    number = len(coco["annotations"]) + 1
                    flat = None if polygon is None else polygon.reshape(-1).tolist()
                    coco["annotations"].append(
                        box_annotation(number, image_id, ids[found.name], box=box, polygon=flat, crowd=found.crowd)
                    )
    repeated = repeated_images_remark(len(join_repeated_images(coco)))
    clipped = clipped_remark(beyond, len(coco["annotations"]), WRONG_FRACTIONS if in_fractions else WRONG_PIXELS)
    repaired = [f"{annotations}: {text}" for text in (repeated, clipped) if text]
    return Split(coco, folder, [*remarks, *renamed, *repaired])


def _in_pixels(found: LabeledObject, size: tuple[int, int]) -> Outline:
    polygon, _ = found.outline
    assert polygon is not None, "readers of fractions give polygons"
    return around(polygon * size[::-1])


def _clip(where: str, outline: Outline, size: tuple[int, int], *, outside: bool) -> Outline:
    """The outline, clipped if it extends beyond an image of (H, W). Raises InputError if it is outside.

    A box under 1 pixel wide or high counts as inside: training skips it. With `outside` all others do, too.
    """
    height, width = size
    polygon, (left, top, right, bottom) = outline
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return outline
    beside = left >= width or top >= height or right <= 0 or bottom <= 0
    if beside and not outside and right - left >= 1 and bottom - top >= 1:
        raise InputError(
            f"{where}: the box {left:g}, {top:g}, {right:g}, {bottom:g} (left, top, right, bottom) lies "
            f"outside its image of {width} x {height} pixels; correct or remove it"
        )
    left, right = (min(max(x, 0.0), float(width)) for x in (left, right))
    top, bottom = (min(max(y, 0.0), float(height)) for y in (top, bottom))
    return None if polygon is None else polygon.clip(0, (width, height)), (left, top, right, bottom)
