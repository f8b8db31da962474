"""The options of a run, from the command line or from Python."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import yaml

from rtmdet.config.file import SECTIONS, yaml_or_none
from rtmdet.core.errors import InputError
from rtmdet.core.paths import user_path

WEIGHTS = "model.weights"  # the setting that is --weights
CONFIG = "config.yaml"  # in the folder of a run
RESUMED = ("last.pth", "last.waiting.pth")  # its files that --resume may name; not imported: that would import torch


@dataclass(frozen=True, slots=True)
class RunOptions:
    """A configuration file or a data set, exactly one of them, and further options."""

    config: Path | None = None
    data: Path | None = None
    images: Path | None = None  # with data that is a COCO file: the folder of its images
    weights: str | None = None  # file or published name; "none" trains from scratch; None: the default
    keep_classes: bool = False  # with data: keep all classes of the weights, new ones after them
    overrides: tuple[str, ...] = ()  # settings as key.subkey=value
    resume: bool = False
    run: Path | None = None  # to be resumed by its own config.yaml, which `config` then is
    minutes: float | None = None  # with data: how long the run may take
    folds: int | None = None  # with data: cross-validation with this many runs
    one_image_is_enough: bool = False  # a single labeled image serves for training and validation
    began: float = field(default_factory=time.monotonic)  # what the minutes count from

    def __post_init__(self) -> None:
        if self.run is not None:
            object.__setattr__(self, "config", self.run / CONFIG)
        if self.weights is not None and not self.weights.strip():
            raise InputError("--weights '': expected a file, a published name or none: leave it out for the default")
        object.__setattr__(self, "overrides", tuple(chain.from_iterable(map(split_section, self.overrides))))
        output = self.given.get("train.output")
        if self.run is not None and output is not None and user_path(output).resolve() != self.run.resolve():
            raise InputError(_not_both(self.run, "train.output", output))
        if self.weights is not None and WEIGHTS in self.given:
            raise InputError(
                f"--weights {self.weights} and --set {WEIGHTS}={self.given[WEIGHTS]}: expected one of them"
            )

    @property
    def given(self) -> dict[str, str]:
        """The settings of `overrides` by their dotted keys; texts as YAML loads them, without quotes."""
        found: dict[str, str] = {}
        for key, _, value in (part.partition("=") for part in self.overrides):
            loaded = yaml_or_none(value)
            found[key.strip()] = loaded if isinstance(loaded, str) else value
        return found

    @property
    def settings(self) -> list[str]:
        """The `overrides` without the weights."""
        return [part for part in self.overrides if part.partition("=")[0].strip() != WEIGHTS]

    @property
    def data_set(self) -> Path:
        """The path of `data`, which must be given."""
        assert self.data is not None, "only for runs on a data set"
        return self.data

    @property
    def folder(self) -> Path:
        """The folder of a run on `data`: the setting train.output, or runs/ with the name of the data.

        For a file, the name of its folder is put before its own: many data sets have a data.yaml.
        """
        data = self.data_set.resolve()
        name = data.name if data.is_dir() else f"{data.parent.name}-{data.stem}"
        return user_path(self.given.get("train.output") or f"runs/{name}")

    def with_shortcuts(self, *, epochs: int | None, output: Path | None) -> "RunOptions":
        """With the settings train.epochs and train.output where they are given by themselves.

        Raises InputError for one that the `overrides` give, too.
        """
        if epochs is not None and epochs < 1:
            raise InputError(f"--epochs {epochs}: expected at least 1")
        values = {"train.epochs": epochs, "train.output": None if output is None else str(output)}
        added = {key: value for key, value in values.items() if value is not None}
        if twice := added.keys() & self.given.keys():
            key = min(twice)
            raise InputError(f"{key.removeprefix('train.')} and the setting {key} are both given: give one of them")
        settings = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in added.items())
        return replace(self, overrides=(*self.overrides, *settings))


def run_to_resume(resume: bool | Path, *, config: Path | None, data: Path | None, output: Path | None) -> Path | None:
    """The folder of the run that --resume continues with its own configuration; None if it does not say so.

    `resume` is True or the run: its folder, or a checkpoint or config.yaml in it. Without `config` and `data`, it is
    the `output`. Raises InputError if `resume` names a run beside one of them.
    """
    if not isinstance(resume, Path):
        return output if resume and config is None and data is None else None
    for option, path in (("--config", config), ("--data", data), ("--output", output)):
        if path is not None:
            raise InputError(_not_both(resume, option, path))
    if resume.suffix not in (".pth", ".yaml") or resume.is_dir():
        return resume
    if resume.name not in (*RESUMED, CONFIG):
        raise InputError(
            f"{resume} to resume: a run continues from its {RESUMED[0]}: give its folder, {resume.parent}"
            + (f"; or begin another run from these weights with --weights {resume}" if resume.is_file() else "")
        )
    return resume.parent


def _not_both(run: Path, option: str, value: object) -> str:
    return (
        f"{run} to resume and {option} {value}: expected one of them: a run continues with its own configuration in "
        f"its own folder; with {option} give --resume alone"
    )


def split_section(override: str) -> Iterator[str]:
    """`train={epochs: 3, seed: 1}` as train.epochs=3 and train.seed=1; other overrides as they are."""
    key, _, text = override.partition("=")
    is_section = key.strip() in SECTIONS and isinstance(yaml_or_none(text), dict)  # a fault is reported later
    section = yaml.compose(text, yaml.SafeLoader) if is_section else None
    if not isinstance(section, yaml.MappingNode):
        yield override
        return
    for name, value in section.value:
        # The node, not its value: 010 is a good name of a folder.
        inner = yaml.serialize(value, width=10**6, allow_unicode=True).removesuffix("...\n")
        yield from split_section(f"{key.strip()}.{name.value}={inner.strip()}")
