"""Splits annotation files such that all parts show all classes, and merges files.

Splitting is iterative stratification, after Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label
data", 2011: images of the rarest class are assigned first, as they leave the least choice. Images without objects are
a class.
"""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from rtmdet.core.errors import InputError
from rtmdet.core.wording import shortened
from rtmdet.data.class_names import name_key
from rtmdet.data.coco.file import CocoCategory, CocoFile, CocoImage
from rtmdet.data.coco.usable import reason_against

NO_OBJECT = None  # the "category id" of images without objects

Classes = frozenset[int | None]  # the category ids of an image's objects
Strata = Mapping[int, Classes]  # by image id, in a random order


def split_coco(
    file: CocoFile, share: float, seed: int, together: Iterable[Collection[int]] = ()
) -> tuple[CocoFile, CocoFile]:
    """Split the images into training and validation; validation gets about the fraction `share` (0 .. 1).

    So does each class, counted in images, and the images without objects that training uses. A class with
    two or more images is on both sides if moving one image makes that possible, so with many rare classes validation
    is larger than `share`. A class with a single image is in training. The image ids of each set in `together` are
    on the same side; a set counts as one image with all of their classes. Categories, ids and the order of entries
    stay; equal `seed`s give equal splits.

    Raises InputError for a share that is not between 0 and 1, and for fewer than two different images.
    """
    if not 0 < share < 1:
        raise InputError(
            f"val, the fraction of validation images: expected more than 0 and less than 1, found {share}; "
            "0.2 is usual"
        )
    if len(file["images"]) < 2:
        raise InputError(f"expected at least 2 images to split, found {len(file['images'])}; add images")
    strata, members = _joined_strata(file, together, seed)
    if len(members) < 2:
        copies = len(file["images"])
        raise InputError(f"expected at least 2 different images to split, found {copies} copies; add others")
    chosen = _stratify(strata, share)
    _cover(strata, chosen)
    chosen = chosen or {next(iter(strata))}  # if every class has a single image
    measured = {image for first in chosen for image in members[first]}
    learned = {image["id"] for image in file["images"]} - measured
    return part_of(file, learned), part_of(file, measured)


def fold_coco(file: CocoFile, count: int, seed: int, together: Sequence[Collection[int]] = ()) -> list[CocoFile]:
    """Split the images into `count` folds of about equal size and classes; equal seeds give equal folds.

    The image ids of each set in `together` are in the same fold; a set counts as one image with all of their classes.

    Raises InputError for fewer than 2 folds, and for fewer different images than folds.
    """
    if not 2 <= count <= len(file["images"]):
        most = len(file["images"])
        raise InputError(f"--folds {count}: expected 2 to {most}, one per image at most")
    strata, members = _joined_strata(file, together, seed)
    if len(members) < count:
        raise InputError(
            f"--folds {count}: expected as many different images, found {len(members)} without the copies"
        )
    folds: list[set[int]] = [set() for _ in range(count)]
    classes_of = [Counter[int | None]() for _ in folds]
    combinations_of = [Counter[Classes]() for _ in folds]

    def fullness(number: int, classes: list[int | None]) -> list[int]:
        """How many images a fold has with this combination of classes, with each of them, and of all."""
        of_classes = [classes_of[number][stratum] for stratum in classes]
        return [combinations_of[number][frozenset(classes)], *of_classes, len(folds[number])]

    for image, classes in _rarest_first(strata):
        number = min(range(count), key=lambda number: fullness(number, classes))
        folds[number].update(members[image])
        classes_of[number].update(strata[image])
        combinations_of[number][strata[image]] += 1
    return [part_of(file, images) for images in folds]


def _joined_strata(
    file: CocoFile, together: Iterable[Collection[int]], seed: int
) -> tuple[Strata, dict[int, list[int]]]:
    """The classes, and the image ids, of each single image or set that stays together, by its smallest id."""
    strata = _strata(file)
    first = {image: min(group) for group in together for image in group}
    members: dict[int, list[int]] = {}
    for image in sorted(strata):
        members.setdefault(first.get(image, image), []).append(image)
    members = {images[0]: images for images in members.values()}
    order = sorted(members)
    random.Random(seed).shuffle(order)
    return {image: frozenset().union(*map(strata.__getitem__, members[image])) for image in order}, members


def _strata(file: CocoFile) -> dict[int, Classes]:
    classes: dict[int, set[int | None]] = {image["id"]: set() for image in file["images"]}
    wanted = {category["id"] for category in file["categories"]}
    for annotation in file["annotations"]:
        if not reason_against(annotation, wanted):
            classes[annotation["image_id"]].add(annotation["category_id"])
    return {image: frozenset(found or {NO_OBJECT}) for image, found in classes.items()}


def _stratify(strata: Strata, share: float) -> set[int]:
    """The ids of the validation images; images of the class with the fewest images left are assigned first.

    An image goes to the side that lacks more images of its combination of classes; if neither does, of its rarest
    class, then of the next class, then of all. A lack under one image does not count: it is rounding.
    """
    counts = _counts(strata.values())
    # Images that validation still lacks minus those that training lacks: of a class, of a combination, of all.
    lack = {stratum: 2 * _wanted(count, share) - count for stratum, count in counts.items()}
    combinations = Counter(strata.values())
    lack_of_combination = {classes: (2 * share - 1) * count for classes, count in combinations.items()}
    lack_of_all = (2 * share - 1) * len(strata)
    chosen: set[int] = set()
    for image, classes in _rarest_first(strata):
        lacks = [lack_of_combination[strata[image]], *(lack[stratum] for stratum in classes)]
        to_validation = next((value for value in lacks if abs(value) >= 1), lack_of_all) > 0
        if to_validation:
            chosen.add(image)
        change = -1 if to_validation else 1
        lack_of_all += change
        lack_of_combination[strata[image]] += change
        for stratum in classes:
            lack[stratum] += change
    return chosen


def _rarest_first(strata: Strata) -> Iterator[tuple[int, list[int | None]]]:
    """The images of the class with the fewest images, then those of the class with the fewest left, and so on.

    Each comes with its classes, that with the fewest images first.
    """
    total, left = _counts(strata.values()), _counts(strata.values())
    images_of: dict[int | None, list[int]] = {stratum: [] for stratum in sorted(left, key=str)}
    for image, classes in strata.items():
        for stratum in classes:
            images_of[stratum].append(image)
    placed: set[int] = set()
    while images_of:
        images = images_of.pop(min(images_of, key=lambda stratum: left[stratum]))
        for image in images:
            if image not in placed:
                placed.add(image)
                left.subtract(strata[image])
                yield image, sorted(strata[image], key=lambda stratum: (total[stratum], str(stratum)))


def _wanted(count: int, share: float) -> float:
    """How many of a class's `count` images validation should get: not none and not all, but none of a single one."""
    return min(max(count * share, 1.0), count - 1.0)


def _cover(strata: Strata, chosen: set[int]) -> None:
    """Move single images to the side where one of their classes is missing, unless another class would then be."""
    total = _counts(strata.values())
    counts = {side: _counts(strata[image] for image in strata if (image in chosen) == side) for side in (True, False)}
    for stratum in sorted(total, key=str):
        if total[stratum] < 2 or (counts[True][stratum] and counts[False][stratum]):
            continue
        side = counts[True][stratum] > 0  # True: all are in validation
        images = [image for image, classes in strata.items() if stratum in classes]
        free = [i for i in images if all(counts[side][other] > 1 or total[other] == 1 for other in strata[i])]
        if free:
            # Prefer images that have no single-image class: those classes belong in training.
            image = min(free, key=lambda i: sum(total[other] == 1 for other in strata[i]))
            chosen ^= {image}
            counts[side].subtract(strata[image])
            counts[not side].update(strata[image])


def _counts(images: Iterable[Classes]) -> Counter[int | None]:
    """The number of images of each class."""
    return Counter(stratum for classes in images for stratum in classes)


def part_of(file: CocoFile, images: set[int]) -> CocoFile:
    """The file with only these images and their annotations; other keys stay."""
    return {
        **file,
        "images": [image for image in file["images"] if image["id"] in images],
        "annotations": [annotation for annotation in file["annotations"] if annotation["image_id"] in images],
    }


def rename_classes(files: Sequence[CocoFile], names: Mapping[str, str]) -> list[CocoFile]:
    """The files with new class names by the old ones. Raises InputError for an old name that no file has."""
    known = {category["name"] for file in files for category in file["categories"]}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"rename: there is no class {unknown[0]!r}: the classes are {shortened(sorted(known))}")

    def renamed(category: CocoCategory) -> CocoCategory:
        return {**category, "name": names.get(category["name"], category["name"])}

    return [{**file, "categories": [renamed(category) for category in file["categories"]]} for file in files]


def merge_coco(
    files: Sequence[CocoFile], folders: Sequence[str], *, similar: bool = False, replace: bool = False
) -> CocoFile:
    """One file with the images, objects and classes of all.

    `folders` has the image folder of each file, relative to a common folder to which the new file names are relative,
    so equal names in different folders stay different images. An image of several files gets the objects of all, but
    equal boxes of a class only once; with `replace` those of the last of these files alone. Classes keep the ids of
    the first file, further ones get the next free ids; images and annotations are numbered from 1. With `similar`,
    classes whose names differ only in letter case, spaces or Unicode form are merged under the first name. Inputs are
    not changed.

    Raises InputError where files disagree about the size of an image.
    """
    categories: dict[str, CocoCategory] = {}
    images: dict[str, CocoImage] = {}
    merged: CocoFile = {"images": [], "annotations": [], "categories": []}
    found: dict[tuple[object, ...], int] = {}  # the first file with a box of a class, by image, class and box
    joined_ids = [
        {entry["id"]: _join_image(images, entry, folder) for entry in file["images"]}
        for file, folder in zip(files, folders, strict=True)
    ]
    last = {image: place for place, ids in enumerate(joined_ids) for image in ids.values()}
    for place, (file, image_ids) in enumerate(zip(files, joined_ids, strict=True)):
        category_ids = {
            category["id"]: _join_category(categories, category, similar=similar) for category in file["categories"]
        }
        for annotation in file["annotations"]:
            image, category = image_ids[annotation["image_id"]], category_ids[annotation["category_id"]]
            if replace and last[image] != place:
                continue
            key = (image, category, *annotation["bbox"], annotation["iscrowd"])
            if found.setdefault(key, place) == place:  # boxes repeated within one file are kept
                number = len(merged["annotations"]) + 1
                merged["annotations"].append({**annotation, "id": number, "image_id": image, "category_id": category})
    merged["images"], merged["categories"] = list(images.values()), list(categories.values())
    return merged


def _join_category(categories: dict[str, CocoCategory], entry: CocoCategory, *, similar: bool) -> int:
    """The merged id of a class, added if new."""
    key = name_key(entry["name"]) if similar else entry["name"]
    if key not in categories:
        taken = {category["id"] for category in categories.values()}
        free = entry["id"] if entry["id"] not in taken else max(taken) + 1
        categories[key] = {**entry, "id": free}
    return categories[key]["id"]


def _join_image(images: dict[str, CocoImage], entry: CocoImage, folder: str) -> int:
    """The merged id of an image, added if new."""
    name = (PurePosixPath(folder) / entry["file_name"].replace("\\", "/")).as_posix()
    image = images.setdefault(name, {**entry, "id": len(images) + 1, "file_name": name})
    if (image["width"], image["height"]) != (entry["width"], entry["height"]):
        raise InputError(
            f"image {name!r} has {image['width']} x {image['height']} pixels in one file and "
            f"{entry['width']} x {entry['height']} in another; correct the wrong one"
        )
    return image["id"]
