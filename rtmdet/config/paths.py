"""The paths in a configuration: written as absolute ones, and adjusted when the folder of its run was moved."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rtmdet.config.schema import Config, DataConfig, SplitConfig


def with_absolute_paths(config: Config) -> Config:
    """The same configuration, usable from any folder."""
    data, model = config.data, config.model
    weights, backbone = (_absolute_file(path) for path in (model.weights, model.backbone_weights))
    return replace(
        config,
        data=_moved_data(data, os.path.abspath),
        model=replace(model, weights=weights, backbone_weights=backbone),
        train=replace(config.train, output=os.path.abspath(config.train.output)),
    )


def moved(config: Config, before: str, folder: Path) -> Config:
    """The configuration of a run that was moved with its contents from the folder `before` to `folder`."""

    def move(path: str) -> str:
        inside = Path(path).is_relative_to(before)
        return str(folder / Path(path).relative_to(before)) if inside and not os.path.exists(path) else path

    output = str(folder) if config.train.output == before else config.train.output
    return replace(config, data=_moved_data(config.data, move), train=replace(config.train, output=output))


def _moved_data(data: DataConfig, move: Callable[[str], str]) -> DataConfig:
    """The same data at other paths."""
    train, val = (SplitConfig(move(split.annotations), move(split.images)) for split in (data.train, data.val))
    return replace(data, train=train, val=val)


def _absolute_file(path: str | None) -> str | None:
    """The absolute path of a file that exists; names of published weights stay."""
    return path if path is None or not os.path.exists(path) else os.path.abspath(path)
