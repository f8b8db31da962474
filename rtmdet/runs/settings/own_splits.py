"""The splits of a run on your own data: opened, made if missing, and compared with the copies of a resumed run."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json, write_json
from rtmdet.core.whole_file import sha256_of
from rtmdet.data.coco.edit import split_coco
from rtmdet.data.coco.file import CocoFile, read_coco
from rtmdet.data.coco.layout import place_images
from rtmdet.data.coco.usable import reason_against
from rtmdet.data.copies import group_copies
from rtmdet.data.formats.open import OpenedDataset, open_dataset
from rtmdet.data.formats.splits import Split

VALIDATION_SHARE = 0.2  # of the images, if the data has no validation split
SPLIT_SEED = 0
DIGESTS = "digests.json"  # of the annotation files that a run reads itself

Objects = dict[str, Counter[tuple[object, ...]]]  # file name -> (class, box) -> how often


def open_own_data(path: Path, images: Path | None = None) -> OpenedDataset:
    """Open a data set and print what it is; `images` as for `open_dataset`."""
    source = open_dataset(path, images)
    *first, last = [*source.splits, *(f"{name} (not used in training)" for name in source.unread)]
    text = f"{', '.join(first)} and {last}" if first else last
    say(f"data: {source.path} is in {source.format} format, with {text}")
    print_remarks([*source.remarks, *source.split_remarks])  # those on COCO files when the run reads them
    return source


def print_remarks(remarks: Iterable[str]) -> None:
    """Print what the readers of splits changed in them; equal lines once."""
    for remark in dict.fromkeys(remarks):
        say(f"data: {remark}")


def two_splits(source: OpenedDataset, path: Path, *, one_is_enough: bool = False) -> tuple[Split, Split]:
    """The train and val splits; a missing val is split off train, independent of train.seed.

    Raises InputError if fewer than two images have objects; with `one_is_enough` a single one serves as both splits.
    """
    train = source.splits["train"]
    if "val" in source.splits:
        return train, source.splits["val"]
    together = prepare_to_split(train)
    labeled, images = labeled_images(train), len(train.coco["images"])
    if labeled == 1 and one_is_enough:
        return train, train
    if labeled < 2:
        raise InputError(
            f"{path}: expected at least 2 images with objects, one for training and one for validation, "
            f"found {labeled} among {images} images; label more"
        )
    learned, measured = split_coco(train.coco, VALIDATION_SHARE, SPLIT_SEED, together)
    say(
        f"no validation split: {len(measured['images'])} of the {len(train.coco['images'])} images are held out for "
        f"validation (stratified by class, seed {SPLIT_SEED}; for another split use rtmdet data split)"
    )
    return Split(learned, train.images), Split(measured, train.images)


def prepare_to_split(whole: Split) -> list[set[int]]:
    """Resolve the image names and print all remarks; returns groups of copies of one photo, by image id."""
    # Remarks are printed here, because the run reads the new splits and not this file.
    if whole.annotations is not None:
        print_remarks([*whole.remarks, *place_images(whole.annotations, whole.coco, whole.images)])
    together, remark = group_copies(whole.coco, whole.images)
    if remark:
        say(f"data: {remark}")
    return together


def labeled_images(split: Split) -> int:
    """The number of images with an object that training uses."""
    wanted = {category["id"] for category in split.coco["categories"]}
    return len({entry["image_id"] for entry in split.coco["annotations"] if not reason_against(entry, wanted)})


def keep_digests(splits: Mapping[str, Split], folder: Path) -> None:
    """Record in `folder` digests of the annotation files that the run reads in place, for `report_changes`."""
    files = {name: split.annotations for name, split in splits.items() if split.annotations is not None}
    if files:
        write_json(folder / DIGESTS, {name: [str(file.resolve()), sha256_of(file)] for name, file in files.items()})


def _report_changed_files(folder: Path) -> None:
    digests = read_json(folder / DIGESTS) if (folder / DIGESTS).is_file() else None
    for name, kept in digests.items() if isinstance(digests, dict) else ():
        file = Path(kept[0])
        if file.is_file() and sha256_of(file) != kept[1]:
            best = "; the best AP so far may be that of other labels" if name == "val" else ""
            say(f"data: {file} has changed since the run started: the run continues with the changed labels{best}")


def report_changes(path: Path, images: Path | None, folder: Path) -> None:
    """Print how the data set at `path` differs from what is in `folder`, of a run that is resumed.

    `folder` holds copies of converted annotations, or digests of files that the run reads in place.
    """
    _report_changed_files(folder)
    copies = {name: folder / f"{name}.json" for name in ("train", "val") if (folder / f"{name}.json").is_file()}
    if not copies:
        return
    try:
        splits = open_dataset(path, images).splits
        for split in splits.values():
            if split.annotations is not None:
                place_images(split.annotations, split.coco, split.images)
    except InputError as error:
        say(f"data: the run continues with its own copies; the data set can no longer be read ({error})")
        return
    begun = _objects(read_coco(copy) for copy in copies.values())
    now = _objects(split.coco for name, split in splits.items() if name in copies)
    if changes := _changes(begun, now):
        say(
            f"data: {path} has changed since the run started: {changes}; the run continues with the data it started "
            "with: to use the new data, start another run with another --output"
        )


def _objects(files: Iterable[CocoFile]) -> Objects:
    found: Objects = {}
    for file in files:
        names = {category["id"]: category["name"] for category in file["categories"]}
        images = {image["id"]: found.setdefault(image["file_name"], Counter()) for image in file["images"]}
        for entry in file["annotations"]:
            box = tuple(round(value, 2) for value in entry["bbox"])
            images[entry["image_id"]][names[entry["category_id"]], *box] += 1
    return found


def _changes(begun: Objects, now: Objects) -> str:
    """The differences as text; empty if there are none."""
    counts = {
        "new": len(now.keys() - begun.keys()),
        "gone": len(begun.keys() - now.keys()),
        "with other objects": sum(begun[name] != now[name] for name in begun.keys() & now.keys()),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f"images {', '.join(parts)}" if parts else ""
