"""Training runs from Python."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtmdet.core.arguments import TorchDevice, checked
from rtmdet.core.errors import InputError
from rtmdet.core.paths import FilePath, path_or_none, user_path
from rtmdet.core.processes import check_main_guard
from rtmdet.core.wording import shown
from rtmdet.evaluation.coco import NAMES
from rtmdet.runs.options import RunOptions, run_to_resume
from rtmdet.runs.train import run_training
from rtmdet.training.log import read_log
from rtmdet.training.records import Callback
from rtmdet.weights.checkpoint import newest_file


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished run; it may be given wherever the path of its folder may."""

    folder: Path

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def last(self) -> Path:
        """The weights of the last epoch: report their AP."""
        return newest_file(self.folder)

    @property
    def best(self) -> Path:
        """The weights of the best validation; its AP is too optimistic, as it was chosen on the same images."""
        return self.folder / "best.pth"

    @property
    def metrics(self) -> dict[str, float]:
        """The 12 COCO metrics of the last validation by name, AP first; -1 if undefined. Raises InputError."""
        rows = [row for row in read_log(self.folder / "log.jsonl") if row["kind"] == "val"]
        if not rows:
            raise InputError(f"{self.folder}: expected the log of a finished run, found none: was the folder moved?")
        return {name: float(rows[-1][name]) for name in NAMES}


@checked
def train(
    data: FilePath | None = None,
    *,
    config: FilePath | None = None,
    images: FilePath | None = None,
    weights: FilePath | None = None,
    keep_classes: bool = False,
    epochs: int | None = None,
    minutes: float | None = None,
    output: FilePath | None = None,
    resume: bool | FilePath = False,
    settings: Mapping[str, object] | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainedRun:
    """Fine-tune a detector, or train one from scratch; returns the run.

    `data` is a data set in any known format, a file or folder (`images` the folder of its images), with
    hyper-parameters derived from it; or `config` is a YAML file as in configs/. `weights` is a checkpoint file, a
    published name, or "none" to train from scratch. `settings` maps dotted keys to values, such as
    {"data.input_size": 320}; `minutes` fits the run on `data` to a time. `callbacks` are called at every step and
    validation. `resume` continues a run: True the one in `output`, a path that run with its own configuration.

    Raises InputError if something cannot be used, or the training cannot go on (a loss that is not finite);
    rtmdet.Interrupted, a KeyboardInterrupt, after Ctrl-C or SIGTERM, with everything saved for `resume`; and
    under torchrun StoppedByAnother, of `rtmdet.core.distributed`, in the processes that another one stops, which
    raises the reason.
    """
    check_main_guard()
    named = resume if isinstance(resume, bool) else user_path(resume)
    places = {"config": path_or_none(config), "data": path_or_none(data), "output": path_or_none(output)}
    resumed = run_to_resume(named, **places)
    if (data is None) == (config is None) and resumed is None:
        raise InputError("train: expected either data or config, found both or neither; give one of them")
    overrides = [f"{key}={_as_yaml(key, value)}" for key, value in (settings or {}).items()]
    options = RunOptions(
        config=places["config"],
        data=places["data"],
        images=path_or_none(images),
        weights=None if weights is None else os.fspath(weights),
        keep_classes=keep_classes,
        overrides=tuple(overrides),
        resume=bool(resume),
        run=resumed,
        minutes=minutes,
    ).with_shortcuts(epochs=epochs, output=places["output"])
    return TrainedRun(run_training(options, callbacks).absolute())


def _as_yaml(key: str, value: object) -> str:
    """A setting's value as text for --set. Raises InputError for values that no configuration can hold."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"settings: {key}: expected a number, text, list or dict, found {shown(value)}") from error


def _plain(value: Any) -> object:
    """A path, a device, an array or a number of NumPy or torch, or a transform of albumentations, as YAML has it.

    Raises InputError for a transform that YAML cannot name, and TypeError for all else.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, TorchDevice):
        return str(value)
    if hasattr(value, "get_transform_init_args") or type(value).__module__.startswith("albumentations."):
        name = type(value).__name__
        known = type(value) is getattr(sys.modules["albumentations"], name, None) and name != "Lambda"
        if not known or not hasattr(value, "get_transform_init_args"):
            raise InputError(
                f"settings: expected single transforms of albumentations, found {name}: write those of a group one "
                "by one; for own ones see docs/changing-the-method.md"
            )
        parameters = {name: given for name, given in value.to_dict()["transform"].items() if given is not None}
        return {"name": parameters.pop("__class_fullname__"), "parameters": parameters}
    raise TypeError(f"{type(value).__name__} in a setting")
