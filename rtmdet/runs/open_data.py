"""Both splits of a run, opened from its configuration, with a line about each and about anything unusual."""

from collections.abc import Sequence
from pathlib import Path

from rtmdet.config.schema import Config, SplitConfig
from rtmdet.core.console import say
from rtmdet.core.distributed import is_main_process
from rtmdet.core.pictures import ValueRange
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.copies import count_equal
from rtmdet.data.images import describe_dark, used_ranges


def open_data(config: Config) -> tuple[CocoDataset, CocoDataset]:
    """Open the training and the validation images and print a line about each."""
    train = open_split(config.data.train, config, config.data.classes, training=True)
    val = open_split(config.data.val, config, train.classes, training=False)
    say(describe_split("train", train))
    say(describe_split("val", val))
    texts = {remark.removeprefix(f"{config.data.train.annotations}: ") for remark in train.remarks}
    prefix = f"{config.data.val.annotations}: "
    say(*train.remarks, *(remark for remark in val.remarks if remark.removeprefix(prefix) not in texts))
    if is_main_process():
        report_depth(train, config.data.value_range)
    if missing := [name for name, count in zip(train.classes, train.class_counts, strict=True) if not count]:
        say(f"no examples of {shortened(missing)}: they cannot be learned; remove them from data.classes")
    same = config.data.train == config.data.val  # the only labeled image serves as both
    if not same and is_main_process() and (common := count_equal(dict.fromkeys(train.paths), val.paths)):
        say(f"{common} of {len(val)} validation images are copies of training images: AP will be too high")
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
        tiling=config.data.tiling if training else None,
    )


def report_depth(train: CocoDataset, value_range: ValueRange | None) -> None:
    """Print a warning if 16-bit images would be nearly black, or if there are none for a `value_range`."""
    if value_range is not None:
        if next(used_ranges(train.few_paths), None) is None:
            say("data.value_range has no effect: the checked images have 8 bits per value")
    elif dark := describe_dark(train.few_paths):
        text, (low, high) = dark
        say(f"{text}; --set data.value_range={low},{high} scales them")


def describe_split(name: str, dataset: CocoDataset) -> str:
    """One line about a split."""
    windows = f" ({dataset.window_count} of them windows)" if dataset.window_count else ""
    text = f"{name}: {len(dataset)} images{windows}, {dataset.box_count} boxes, classes: {shortened(dataset.classes)}"
    unused = ", ".join(f"{count} {reason}" for reason, count in dataset.unused.items() if count)
    if unused:
        text += f"; not used: {unused}"
    if left_out := len(dataset.coco.imgs) - len(dataset):
        text += f"; {left_out} images without usable boxes skipped (data.keep_empty=true includes them)"
    return text
