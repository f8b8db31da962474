"""The folder of a run, and the resolved configuration in it."""

from __future__ import annotations

import os
from pathlib import Path

from rtmdet.config import Config
from rtmdet.config_file import dump_config
from rtmdet.structures import InputError


def prepare_folder(folder: Path, config: Config) -> None:
    """Make the run's folder with its resolved configuration, which replaces an earlier one as a whole."""
    part = folder / "config.yaml.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(dump_config(config))
        os.replace(part, folder / "config.yaml")
    except OSError as error:
        raise InputError(f"output folder {folder} cannot be written: {error}") from error
