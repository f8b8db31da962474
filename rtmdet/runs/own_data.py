"""`rtmdet train --data`: from the path of a data set to the configuration of a run; each choice is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from functools import cache
from pathlib import Path

import yaml

from rtmdet.config.file import load_config, parse_config
from rtmdet.config.recipe import Choice, choose_recipe
from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.formats.labeled_image import Split
from rtmdet.data.json_file import read_json, write_json
from rtmdet.runs.build_trainer import training_device
from rtmdet.runs.changed_data import report_changes
from rtmdet.runs.facts import start_of
from rtmdet.runs.first_weights import FirstWeights, size_from_boxes
from rtmdet.runs.folder import is_run, load_run
from rtmdet.runs.open_data import open_split
from rtmdet.runs.options import RunOptions
from rtmdet.runs.own_splits import open_data_set, two_splits, used_images, write_split
from rtmdet.runs.weights_file import read_weights
from rtmdet.weights.checkpoint import has_checkpoint
from rtmdet.weights.load import LoadedWeights, new_classes

ORIGIN = "origin.json"  # the path of the data set that a run was started on
DEFAULT_WEIGHTS = "rtmdet-tiny-coco"
NO_WEIGHTS = "none"
NULLS = ("", NO_WEIGHTS, "null", "~")


def configuration(options: RunOptions) -> Config:
    """The configuration of `--config`, or the one derived for `--data`; a resumed run uses its own config.yaml.

    Raises InputError for options that contradict each other, and if the folder already holds a run.
    """
    if options.data is None:
        return read_configuration(options)
    folder = options.folder
    if not holds_run(folder):
        return configure(options, folder)
    check_resumable(options, folder)
    report_changes(options.data_set, options.images, folder / "data")
    return load_run(folder, options.overrides)


def read_configuration(options: RunOptions) -> Config:
    """The configuration of `--config` with `--weights` and `--set`."""
    assert options.config is not None, "given where no data set is"
    if options.keep_classes:
        raise InputError("--keep-classes works with --data only: with --config list the classes in data.classes")
    if options.images is not None:
        raise InputError("--images works with --data only: with --config set data.train.images and data.val.images")
    weights = []
    if options.weights is not None:
        name = "null" if options.weights.lower() == NO_WEIGHTS else json.dumps(options.weights, ensure_ascii=False)
        weights = [f"model.weights={name}"]
    overrides = [*weights, *options.overrides]
    if is_run(options.config):
        return load_run(options.config.parent, overrides)
    return load_config(options.config, overrides)


def configure(options: RunOptions, folder: Path) -> Config:
    """The configuration for `--data PATH` with `--weights` and `--set`.

    COCO files of data in other formats, and of a validation split that is made here, are written into `folder`.
    Raises InputError if the data or the weights cannot be used.
    """
    return configurations(options, folder)([])


def configurations(options: RunOptions, folder: Path) -> Callable[[Sequence[str]], Config]:
    """A function that makes the configuration for `--data PATH` with further settings, such as train.epochs=12."""
    source = open_data_set(options.data_set, options.images)
    classes = choose_classes(options, source.splits["train"])
    splits = two_splits(source, options.data_set, one_is_enough=options.one_image_is_enough)
    return split_configurations(options, *splits, folder, classes)


def split_configurations(
    options: RunOptions,
    train: Split,
    val: Split,
    folder: Path,
    classes: Sequence[str],
    measured: dict[str, Choice] | None = None,
) -> Callable[[Sequence[str]], Config]:
    """A function that makes the configuration of a run on these splits with further settings.

    `measured` holds choices to reuse from an earlier run; those of this run are added.
    """
    measured = {} if measured is None else measured

    def configured(settings: Sequence[str]) -> Config:
        return configure_splits(options.with_settings(settings), train, val, folder, classes, measured)

    return configured


def holds_run(folder: Path) -> bool:
    """Whether a folder holds checkpoints of a run."""
    return has_checkpoint(folder) or (folder / "best.pth").exists()


def check_resumable(options: RunOptions, folder: Path) -> None:
    """Raise InputError for a folder that holds a run that is not to be resumed, or one on other data."""
    if not options.resume:
        raise InputError(f"{folder} already holds a run: continue it with --resume, or set another train.output")
    origin = folder / "data" / ORIGIN
    if origin.exists() and (begun := read_json(origin)) != str(options.data_set.resolve()):
        raise InputError(f"{folder} holds a run on {begun}, not on {options.data_set}: set another train.output")


def choose_classes(options: RunOptions, train: Split) -> list[str]:
    """The classes in label order: the data's by id; with --keep-classes the weights' classes first.

    Raises InputError if the classes of the weights cannot be kept.
    """
    if options.keep_classes:
        return joined_classes(train, weights_of(options, options.given))
    return [category["name"] for category in sorted(train.coco["categories"], key=lambda category: category["id"])]


def configure_splits(
    options: RunOptions,
    train: Split,
    val: Split,
    folder: Path,
    classes: Sequence[str],
    measured: dict[str, Choice],
) -> Config:
    """The configuration of a run in `folder` on these splits; prints each choice. Raises InputError.

    `measured` caches, by key, the choices that take seconds to measure.
    """
    given = options.given
    weights = weights_of(options, given)
    found = None if weights is None else read_weights(weights)
    names = given_classes(given) or classes
    settings: dict[str, object] = {
        "data.train.annotations": str(write_split(train, folder / "data" / "train.json")),
        "data.train.images": str(train.images),
        "data.val.annotations": str(write_split(val, folder / "data" / "val.json")),
        "data.val.images": str(val.images),
        "data.classes": list(classes),
        "model.weights": weights,
        "model.size": given.get("model.size") or size_of(found),
    }
    overrides = [*options.overrides, f"train.output={json.dumps(str(folder), ensure_ascii=False)}"]

    def resolved() -> Config:
        return parse_config(yaml.safe_dump(nested(settings)), f"--data {options.data_set}", overrides)

    start = start_of(found, resolved().model)
    choices = choose_recipe(
        used_images(train),
        start=start,
        new_classes=len(names if found is None else new_classes(found, names)),
        batch_size=int_of(given, "data.batch_size"),
        epochs=int_of(given, "train.epochs"),
    )

    def add(choice: Choice) -> None:
        settings[choice.key] = choice.value
        if choice.key not in given:
            say(f"  {choice.key}: {choice.value}  ({choice.reason})")

    for choice in choices:
        if choice.key != "evaluation.choose_input_size" or not is_given(given, "evaluation.input_size"):
            add(choice)
    measure_choices(resolved, found if start == "detector" else None, given, measured, add)
    config = resolved()
    write_json(folder / "data" / ORIGIN, str(options.data_set.resolve()))
    return config


def measure_choices(
    resolved: Callable[[], Config],
    detector: LoadedWeights | None,
    given: Container[str],
    measured: dict[str, Choice],
    add: Callable[[Choice], None],
) -> None:
    """Measure input size and norm statistics where the user sets none, and pass each choice to `add`.

    `resolved` gives the configuration so far; `detector` is None if neck and head start from scratch.
    """
    config = resolved()  # bad settings fail before anything takes time

    @cache
    def dataset() -> CocoDataset:
        return open_split(config.data.train, config, config.data.classes, training=True)

    @cache
    def first_weights() -> FirstWeights:
        assert detector is not None, "only called with a detector"
        device = training_device(config.train.device)
        return FirstWeights.build(detector, config.model, dataset(), device)

    def choose_size() -> Choice:
        return size_from_boxes(dataset()) if detector is None else first_weights().choose_input_size()

    def choose_statistics() -> Choice:
        size, batch = resolved().data.input_size, config.data.batch_size
        return first_weights().choose_norm_statistics(size, batch)

    measurements = {"data.input_size": choose_size}
    if detector is not None:
        measurements["model.norm_statistics"] = choose_statistics
    for key, measure in measurements.items():
        if key not in given:
            measured[key] = measured.get(key) or measure()
            add(measured[key])


def weights_of(options: RunOptions, given: dict[str, str]) -> str | None:
    """The initial weights: as given, else RTMDet-tiny's; None for 'none' and for a timm backbone without weights."""
    default = NO_WEIGHTS if is_given(given, "model.backbone") else DEFAULT_WEIGHTS
    weights = (options.weights or given.get("model.weights", default)).strip()
    return None if weights.lower() in NULLS else weights


def is_given(given: dict[str, str], key: str) -> bool:
    """Whether the user sets a key to something other than null."""
    return given.get(key, "null").strip().lower() not in NULLS


def joined_classes(train: Split, weights: str | None) -> list[str]:
    """The classes of the initial weights in their order, then the data's new ones.

    Raises InputError if the weights name no classes, or if the data has no objects of one of theirs.
    """
    known = None if weights is None else read_weights(weights).classes
    if known is None:
        raise InputError("--keep-classes: expected weights that store class names, found none; leave it out")
    used = {entry["category_id"] for entry in train.coco["annotations"]}
    names = [category["name"] for category in train.coco["categories"] if category["id"] in used]
    missing = [name for name in known if name not in names]  # they would be trained as background
    if missing:
        raise InputError(
            f"--keep-classes: {weights} knows {shortened(missing, 5)}, but the training data has only "
            f"{shortened(names)}, so the others would be unlearned: label them too, or leave the option out"
        )
    return [*known, *(name for name in names if name not in known)]


def size_of(weights: LoadedWeights | None) -> str:
    """The model size of the initial weights; tiny without any."""
    if weights is None:
        return "tiny"
    if weights.size is None:
        raise InputError(f"{weights.path} stores no model size: give it with --set model.size=...")
    return weights.size


def given_classes(given: dict[str, str]) -> list[str]:
    """The classes that the user sets, if any; the configuration refuses what is not a list."""
    try:
        names = yaml.safe_load(given.get("data.classes", "null"))
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def int_of(given: dict[str, str], key: str) -> int | None:
    """A positive whole number among the overrides, else None; the configuration refuses other values."""
    value = given.get(key, "").strip()
    return int(value) if value.isascii() and value.isdigit() and int(value) > 0 else None


def nested(settings: dict[str, object]) -> dict[str, object]:
    """Dotted keys -> sections within sections."""
    tree: dict = {}
    for key, value in settings.items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return tree
