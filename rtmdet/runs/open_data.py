"""The images of a run: both splits opened by its configuration, with a line about each and about what is odd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rtmdet.config.schema import Config, SplitConfig
from rtmdet.core.console import say
from rtmdet.core.distributed import is_main_process
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.copies import count_equal
from rtmdet.data.images import DARK, DEEP_SUFFIXES, used_range

LOOKED_AT = 24  # images whose values are looked at


def open_data(config: Config) -> tuple[CocoDataset, CocoDataset]:
    """The training and the validation images, with a line about each."""
    train = open_split(config.data.train, config, config.data.classes, training=True)
    val = open_split(config.data.val, config, train.classes, training=False)
    say(describe("train", train))
    say(describe("val", val))
    for remark in (*train.remarks, *val.remarks):
        say(remark)
    if config.data.value_range is None and is_main_process():
        say_dark(train)
    if missing := [name for name, count in zip(train.classes, train.class_counts, strict=True) if not count]:
        say(f"no object to learn from: {shortened(missing)}: never found; leave them out with data.classes")
    if is_main_process() and (common := count_learned(map(train.path, range(len(train))), val)):
        say(f"{common} of {len(val)} validation images are copies of training images: AP says little of other images")
    return train, val


def open_split(split: SplitConfig, config: Config, classes: Sequence[str] | None, *, training: bool) -> CocoDataset:
    """The data set of one split, checked."""
    return CocoDataset(
        Path(split.annotations),
        Path(split.images),
        classes=classes,
        training=training,
        keep_empty=config.data.keep_empty,
        value_range=config.data.value_range,
    )


def say_dark(train: CocoDataset) -> None:
    """Say where images of 16 bits use a small part of their values: they would be nearly black."""
    places = range(0, len(train), -(-len(train) // LOOKED_AT))
    paths = [path for path in map(train.path, places) if path.suffix.lower() in DEEP_SUFFIXES]
    ranges = [found for path in paths if (found := used_range(path.read_bytes())) is not None]
    if ranges and (high := max(high for _, high in ranges)) < DARK:
        low = min(low for low, _ in ranges)
        say(
            f"{len(ranges)} of {len(places)} images looked at have 16 bits a value and use {low} .. {high} of 65535: "
            f"they are nearly black as they are read; --set data.value_range={low},{high} scales them"
        )


def count_learned(learned: Iterable[Path], val: CocoDataset) -> int:
    """How many validation images are equal to training images."""
    return count_equal(learned, map(val.path, range(len(val))))


def describe(name: str, dataset: CocoDataset) -> str:
    """One line about a split."""
    text = f"{name}: {len(dataset)} images, {dataset.box_count} boxes, classes: {shortened(dataset.classes)}"
    unused = ", ".join(f"{count} {reason}" for reason, count in dataset.unused.items() if count)
    if unused:
        text += f"; not used: {unused}"
    if left_out := len(dataset.coco.imgs) - len(dataset):
        text += f"; left out: {left_out} images without a usable box (data.keep_empty=true shows them, too)"
    return text
