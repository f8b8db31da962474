"""The splits of a run on your own data: opened with a line about each; a missing validation split is made."""

from __future__ import annotations

from pathlib import Path

from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.data.coco.edit import split_coco
from rtmdet.data.copies import group_copies
from rtmdet.data.formats.labeled_image import Split
from rtmdet.data.formats.open import OpenedDataset, open_dataset
from rtmdet.data.image_names import place_images
from rtmdet.data.json_file import write_json

VALIDATION_SHARE = 0.2  # of the images, if the data has no validation split
SPLIT_SEED = 0


def open_data_set(path: Path, images: Path | None = None) -> OpenedDataset:
    """Open a data set and print what it is; `images` as for `open_dataset`."""
    source = open_dataset(path, images)
    say(f"data: {path} is in {source.format} format, with {' and '.join(source.splits)}")
    for split in source.splits.values():
        if split.annotations is None:  # remarks on COCO files are printed when the run reads them
            print_remarks(split)
    return source


def print_remarks(split: Split) -> None:
    """Print what the reader of a split changed in it."""
    for remark in split.remarks:
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
        print_remarks(whole)
        for remark in place_images(whole.annotations, whole.coco, whole.images):
            say(f"data: {remark}")
    together, remark = group_copies(whole.coco, whole.images)
    if remark:
        say(f"data: {remark}")
    return together


def write_split(split: Split, path: Path) -> Path:
    """The COCO file of a split; written to `path` if the split has none."""
    if split.annotations is not None:
        return split.annotations
    write_json(path, split.coco)
    return path


def used_images(split: Split) -> int:
    """The number of images that training uses, at least 1."""
    return max(labeled_images(split), 1)


def labeled_images(split: Split) -> int:
    """The number of images with an object that is not a crowd."""
    return len({entry["image_id"] for entry in split.coco["annotations"] if not entry["iscrowd"]})
