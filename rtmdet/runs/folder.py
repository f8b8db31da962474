"""The folder of a run, and the resolved configuration in it, which works from anywhere and after a move."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rtmdet.config.file import dump_config, load_config
from rtmdet.config.schema import Config, DataConfig, SplitConfig
from rtmdet.core.errors import InputError
from rtmdet.weights.checkpoint import has_checkpoint

CONFIG = "config.yaml"


def prepare_folder(folder: Path, config: Config) -> None:
    """Create the run's folder and write the resolved configuration atomically."""
    part = folder / f"{CONFIG}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(stored_text(config))
        os.replace(part, folder / CONFIG)
    except OSError as error:
        raise InputError(f"output folder {folder} cannot be written: {error}") from error


def stored_text(config: Config) -> str:
    """The configuration as YAML, with absolute paths: the run may later be used from another folder."""
    data, model = config.data, config.model
    weights, backbone = (_absolute_file(path) for path in (model.weights, model.backbone_weights))
    return dump_config(
        replace(
            config,
            data=_moved_data(data, os.path.abspath),
            model=replace(model, weights=weights, backbone_weights=backbone),
            train=replace(config.train, output=os.path.abspath(config.train.output)),
        )
    )


def holds_run(folder: Path) -> bool:
    """Whether a folder holds checkpoints of a run."""
    return has_checkpoint(folder) or (folder / "best.pth").exists()


def check_unused(folder: Path) -> None:
    """Raise InputError for a folder that holds a run: another one would overwrite it."""
    if holds_run(folder):
        raise InputError(f"{folder} already holds a run: continue it with --resume, or set another train.output")


def is_run(config: Path) -> bool:
    """Whether a file is the configuration in the folder of a run."""
    return config.name == CONFIG and has_checkpoint(config.parent)


def load_run(folder: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of the run in a folder, which may have been moved, with `key.subkey=value` overrides.

    Raises InputError as `load_config` does, and if the data of the run is gone.
    """
    path = folder / CONFIG
    before = load_config(path).train.output
    config = moved(load_config(path, overrides), before, folder)
    for name, split in (("train", config.data.train), ("val", config.data.val)):
        for key in ("annotations", "images"):
            if not os.path.exists(place := getattr(split, key)):
                raise InputError(
                    f"{path}: the {key} of {name}, {place}, no longer exist: if they were moved, give "
                    f"--set data.{name}.{key}=..."
                )
    return config


def moved(config: Config, before: str, folder: Path) -> Config:
    """The configuration of a run that was moved with its contents from the folder `before` to `folder`."""

    def place(path: str) -> str:
        inside = Path(path).is_relative_to(before)
        return str(folder / Path(path).relative_to(before)) if inside and not os.path.exists(path) else path

    output = str(folder) if config.train.output == before else config.train.output
    return replace(config, data=_moved_data(config.data, place), train=replace(config.train, output=output))


def _moved_data(data: DataConfig, place: Callable[[str], str]) -> DataConfig:
    """The same data at other paths."""
    train, val = (SplitConfig(place(split.annotations), place(split.images)) for split in (data.train, data.val))
    return replace(data, train=train, val=val)


def _absolute_file(path: str | None) -> str | None:
    """The absolute path of a file that exists; names of published weights stay."""
    return path if path is None or not os.path.exists(path) else os.path.abspath(path)
