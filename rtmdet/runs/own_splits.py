"""The splits of a run on own data: opened with a line about each, made where there is no validation split."""

from __future__ import annotations

from pathlib import Path

from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.data.coco.splitting import split_coco
from rtmdet.data.copies import group_copies
from rtmdet.data.formats.open import OpenedDataset, Split, open_dataset
from rtmdet.data.image_names import place_images
from rtmdet.data.json_file import write_json

VALIDATION_SHARE = 0.2  # of the images, where the data has no validation split
SPLIT_SEED = 0


def open_data_set(path: Path, images: Path | None = None) -> OpenedDataset:
    """The data set of a path, with a line about what it is; `images` as `open_dataset` takes it."""
    source = open_dataset(path, images)
    say(f"data: {path} is {source.format}, with {' and '.join(source.splits)}")
    for split in source.splits.values():
        if split.annotations is None:  # COCO files say theirs when the run reads them
            say_remarks(split)
    return source


def say_remarks(split: Split) -> None:
    """What the reader of a split did to it."""
    for remark in split.remarks:
        say(f"data: {remark}")


def two_splits(source: OpenedDataset, path: Path, *, one_is_enough: bool = False) -> tuple[Split, Split]:
    """The train and val splits; where there is no val, a share of the images is taken for it.

    The same whatever train.seed is, so that runs of several seeds are measured on the same images. Raises InputError
    where fewer than two images have objects; with `one_is_enough` the only one is in both splits.
    """
    train = source.splits["train"]
    if "val" in source.splits:
        return train, source.splits["val"]
    together = prepare_to_split(train)
    labelled, images = labelled_images(train), len(train.coco["images"])
    if labelled == 1 and one_is_enough:
        return train, train
    if labelled < 2:
        raise InputError(
            f"{path}: expected at least 2 images with objects, one to learn from and one to measure, found "
            f"{labelled} among {images} images; label more"
        )
    learned, measured = split_coco(train.coco, VALIDATION_SHARE, SPLIT_SEED, together)
    say(
        f"no validation split: {len(measured['images'])} of the {len(train.coco['images'])} images are put aside "
        f"for it (seed {SPLIT_SEED}, by class; another one: rtmdet data split)"
    )
    return Split(learned, train.images), Split(measured, train.images)


def prepare_to_split(whole: Split) -> list[set[int]]:
    """Give the images the names of their files, with a line about all that was done; returns the copies among them.

    The run reads the parts instead of a COCO file that is split, and would not say it.
    """
    if whole.annotations is not None:
        say_remarks(whole)
        for remark in place_images(whole.annotations, whole.coco, whole.images):
            say(f"data: {remark}")
    together, remark = group_copies(whole.coco, whole.images)
    if remark:
        say(f"data: {remark}")
    return together


def write_split(split: Split, path: Path) -> Path:
    """The COCO file of a split, written where it is not a file yet."""
    if split.annotations is not None:
        return split.annotations
    write_json(path, split.coco)
    return path


def used_images(split: Split) -> int:
    """The images with an object, which training shows."""
    return max(labelled_images(split), 1)


def labelled_images(split: Split) -> int:
    """The images with an object that is no crowd."""
    return len({entry["image_id"] for entry in split.coco["annotations"] if not entry["iscrowd"]})
