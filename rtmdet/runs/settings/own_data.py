"""`rtmdet train --data`: from the path of a data set to the configuration of a run; each choice is printed."""

import json
import os
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import yaml

from rtmdet.config.file import load_config, moved, parse_config
from rtmdet.config.recipe import Choice, choose_recipe
from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json
from rtmdet.core.processes import started_processes
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.layout import file_names
from rtmdet.data.formats.splits import Split
from rtmdet.runs.build import build_training_samples, check_model_size, open_split, training_device
from rtmdet.runs.folder import CONFIG, check_unused, holds_run, keep_origin, load_run, origin_of
from rtmdet.runs.options import WEIGHTS, RunOptions
from rtmdet.runs.settings.input_size import choose_input_size, relative_sizes
from rtmdet.runs.settings.norm_choice import choose_norm_statistics
from rtmdet.runs.settings.own_splits import keep_digests, open_own_data, two_splits
from rtmdet.runs.settings.resize_range import choose_resize_range
from rtmdet.runs.weights_file import build_detector, read_weights, start_of
from rtmdet.weights.download import place_of
from rtmdet.weights.load import LoadedWeights, missing_size, new_classes

DEFAULT_WEIGHTS = "rtmdet-tiny-coco"
NO_WEIGHTS = "none"
PLACEHOLDER = "data: {train: {annotations: '-', images: '-'}, val: {annotations: '-', images: '-'}}"
NULLS = ("", NO_WEIGHTS, "null", "~")
INPUT_SIZE, RESIZE_RANGE = "data.input_size", "augmentation.resize_range"
NORM_STATISTICS = "model.norm_statistics"
MEASURED = (INPUT_SIZE, RESIZE_RANGE, NORM_STATISTICS)  # without trained neck and head the input size alone


def resumed_configuration(options: RunOptions, folder: Path) -> Config:
    """The configuration of the run in `folder`, with new settings. Raises InputError if it is not to be resumed."""
    check_resumable(options, folder)
    weights = (
        [] if options.weights is None else [f"{WEIGHTS}={json.dumps(initial_weights(options), ensure_ascii=False)}"]
    )
    return load_run(folder, [*weights, *options.overrides])


def with_first_weights(config: Config, folder: Path) -> Config:
    """The configuration of a resumed run with the weights that it was begun with; prints which ones are not used."""
    if not (folder / CONFIG).exists():
        return config
    begun, given = load_config(folder / CONFIG).model, config.model
    if _place(given.weights) != _place(begun.weights):
        say(
            f"the weights {given.weights or NO_WEIGHTS} are not used: the run was begun with "
            f"{begun.weights or NO_WEIGHTS} and continues from its checkpoint; for other weights choose another "
            "--output"
        )
    names = ["backbone_weights", "backbone_pretrained"]
    if {given.norm_statistics, begun.norm_statistics} == {"keep", "recalibrate"}:
        names.append("norm_statistics")
    kept = {name: getattr(begun, name) for name in names}
    for name, value in kept.items():
        if getattr(given, name) != value:
            say(f"model.{name} is not applied: it is for the beginning of a run, which had {value}")
    return replace(config, model=replace(given, weights=begun.weights, **kept))


def check_same_validation(config: Config, folder: Path) -> None:
    """Raise InputError for a resumed run with other validation images: its best weights were chosen by AP on them."""
    if not (folder / CONFIG).exists():
        return
    begun = load_config(folder / CONFIG)
    before, given = (each.data.val.annotations for each in (moved(begun, begun.train.output, folder), config))
    if not all(map(os.path.isfile, (before, given))):
        return
    names = [{Path(name).name for name in file_names(read_json(Path(path)))} for path in (before, given)]
    if names[0] != names[1]:
        raise InputError(
            f"{given}: {folder} was validated on the images of {before} so far, and AP on others does not compare: "
            "leave data.val as it was, and measure on others with rtmdet evaluate"
        )


def _place(weights: str | None) -> str | None:
    """The file of weights, or their published name."""
    path = None if weights is None else place_of(weights)
    return weights if path is None else os.path.realpath(path)


def check_keys(options: RunOptions) -> None:
    """Raise InputError for a setting of a run on `data` that does not exist, or has an impossible value."""
    check_model_size(parse_config(PLACEHOLDER, f"--data {options.data_set}", options.settings))


@dataclass(frozen=True, slots=True, eq=False)
class OwnData:
    """The data of a run with `--data`, from which the configuration is derived.

    COCO files of data in other formats, and of a validation split that is made here, are written into `folder`, that
    of the run.
    """

    options: RunOptions
    train: Split
    val: Split
    folder: Path
    classes: Sequence[str]  # in label order

    @classmethod
    def open(cls, options: RunOptions, folder: Path) -> "OwnData":
        """Open the data set of the options, and split it if necessary. Raises InputError if it cannot be used."""
        check_keys(options)  # before anything takes time
        source = open_own_data(options.data_set, options.images)
        classes = choose_classes(options, source.splits["train"])
        train, val = two_splits(source, options.data_set, one_is_enough=options.one_image_is_enough)
        return cls(options, train, val, folder, classes)

    def configure(self, settings: Sequence[str] = ()) -> Config:
        """The configuration of the run with the user's and further `settings`, such as train.epochs=12.

        Prints each choice. Raises InputError if a setting or the weights cannot be used.
        """
        options = replace(self.options, overrides=(*self.options.overrides, *settings))
        given, weights = options.given, initial_weights(options)
        found = None if weights is None else read_weights(weights)
        copies = self.folder / "data"
        if not holds_run(self.folder):
            check_unused(self.folder)
        keep_origin(self.folder, options.data_set, options.images)
        splits = {"train": self.train, "val": self.val}
        paths = {
            name: {"annotations": str(split.write(copies / f"{name}.json")), "images": str(split.images)}
            for name, split in splits.items()
        }
        derived: dict[str, dict[str, object]] = {
            "data": {**paths, "classes": list(self.classes)},
            "model": {
                "weights": weights,
                "size": given.get("model.size") or size_of(found),
                "backbone": None if found is None else found.facts.backbone or None,
            },
        }
        overrides = [*options.settings, f"train.output={json.dumps(str(self.folder), ensure_ascii=False)}"]

        def resolved() -> Config:
            return parse_config(yaml.safe_dump(derived), f"--data {options.data_set}", overrides)

        config = resolved()
        dataset = open_split(config, config.data.classes, training=True)
        images = _images_of_an_epoch(config, dataset)
        start = start_of(found, config.model)
        names = config.data.classes or self.classes
        choices = choose_recipe(
            images,
            start=start,
            new_classes=len(names if found is None else new_classes(found, names)),
            batch_size=config.data.batch_size if "data.batch_size" in given else None,
            epochs=config.train.epochs if "train.epochs" in given else None,
            batches_per_step=config.train.accumulate * started_processes(),
        )
        if config.evaluation.input_size is not None:
            choices = [choice for choice in choices if choice.key != "evaluation.choose_input_size"]
        for choice in chain(choices, _measure(resolved, dataset, found if start == "detector" else None, given)):
            section, name = choice.key.split(".")
            derived.setdefault(section, {})[name] = choice.value
            if choice.key not in given:
                say(f"  {choice.key}: {choice.value}  ({choice.reason})")
        config = resolved()
        keep_digests(splits, copies)
        return config


def _images_of_an_epoch(config: Config, dataset: CocoDataset) -> int:
    """The images of an epoch, with their windows if they are cut, as the training counts them."""
    if tile := config.data.tile:
        say(
            f"  data.tile: {tile}  ({dataset.window_count} windows of {tile} x {tile} pixels beside "
            f"{len(dataset) - dataset.window_count} whole pictures)"
        )
    return len(build_training_samples(config, dataset))


def _measure(
    resolved: Callable[[], Config], dataset: CocoDataset, detector: LoadedWeights | None, given: Container[str]
) -> Iterator[Choice]:
    """The MEASURED settings that the user does not give.

    `resolved` gives the configuration so far, `dataset` has the training images; `detector` is None if neck and head
    start from scratch.
    """
    config = resolved()  # bad settings fail before anything takes time
    keys = [key for key in ((INPUT_SIZE,) if detector is None else MEASURED) if key not in given]
    if not keys:
        return
    device = training_device(config.train.device)
    model = None
    if detector is not None and keys != [RESIZE_RANGE]:  # which follows from the boxes alone
        model = build_detector(detector, config.model, dataset.classes, device)
    for key in keys:
        if key == INPUT_SIZE:
            choice = choose_input_size(dataset, model, device)
        elif key == RESIZE_RANGE:
            choice = choose_resize_range(*relative_sizes(dataset.without_reduced()), dataset.classes)
        else:
            assert model is not None, "otherwise there is nothing to choose"
            size, batch_size = resolved().data.input_size, config.data.batch_size
            choice = choose_norm_statistics(model, dataset, size, batch_size, device)
        yield choice


def check_resumable(options: RunOptions, folder: Path) -> None:
    """Raise InputError for a folder that holds a run that is not to be resumed, or one on other data."""
    if not options.resume:
        check_unused(folder)
    origin = origin_of(folder)
    if origin is not None and (begun := origin[0]) != options.data_set.resolve():
        if not begun.exists():
            raise InputError(
                f"{folder} holds a run on {begun}, which is gone: if the data was moved, continue with --config "
                f"{folder / CONFIG} --resume and its new places, --set data.train.images=... (annotations; val, too)"
            )
        raise InputError(f"{folder} holds a run on {begun}, not on {options.data_set}: choose another --output")
    if options.images is not None and origin is not None and options.images.resolve() != origin[1]:
        before = "without --images" if origin[1] is None else f"with {origin[1]}"
        raise InputError(
            f"--images {options.images}: the run in {folder} was begun {before}: leave it out, or choose another "
            "--output"
        )


def choose_classes(options: RunOptions, train: Split) -> list[str]:
    """The classes in label order: the data's by id; with --keep-classes the weights' classes first.

    Raises InputError if the weights name no classes to keep, or if the data has no objects of one of theirs.
    """
    if not options.keep_classes:
        return [
            category["name"] for category in sorted(train.coco["categories"], key=lambda category: category["id"])
        ]
    if "data.classes" in options.given:
        raise InputError("--keep-classes and --set data.classes: expected one of them")
    weights = initial_weights(options)
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


def initial_weights(options: RunOptions) -> str | None:
    """The initial weights: as given, else RTMDet-tiny's; None for 'none' and for a timm backbone without weights."""
    given = options.given
    own_backbone = given.get("model.backbone", "null").strip().lower() not in NULLS
    default = NO_WEIGHTS if own_backbone else DEFAULT_WEIGHTS
    weights = (given.get(WEIGHTS, default) if options.weights is None else options.weights).strip()
    return None if weights.lower() in NULLS else weights


def size_of(weights: LoadedWeights | None) -> str:
    """The model size of the initial weights; tiny without any."""
    if weights is None:
        return "tiny"
    if not weights.facts.size:
        raise missing_size(weights, "--set model.size=...")
    return weights.facts.size
