"""The file of the first weights of a run: read once, whoever looks at it, and loaded into the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.wording import shortened
from rtmdet.models.rtmdet import RTMDet
from rtmdet.weights.download import resolve
from rtmdet.weights.load import LoadedWeights, keep_known_classes, load_weights, read_checkpoint


def read_weights(name: str) -> LoadedWeights:
    """The weights of a published name or a path; the same object again until the file changes. Do not change it.

    Raises InputError where there is no such file, or it holds no weights.
    """
    path = resolve(name, progress=True)
    if not path.is_file():
        return read_checkpoint(path)  # which says what is there instead
    state = path.stat()
    return _read(path, path.resolve(), state.st_mtime_ns, state.st_size)


def read_first_weights(config: Config) -> LoadedWeights | None:
    """The file of model.weights; None without one. Raises InputError."""
    name = config.model.weights
    return None if name is None else read_weights(name)


def starts_from_detector(config: Config) -> bool:
    """Whether neck and head, too, come from the first weights; otherwise they start from scratch."""
    weights = read_first_weights(config)
    return weights is not None and not weights.backbone_only


def load_first_weights(model: RTMDet, name: str, classes: Sequence[str]) -> None:
    """Load a checkpoint; classes that it knows by name go on with what it learned of them."""
    weights = read_weights(name)
    say(load_weights(model, weights).summary)
    known = keep_known_classes(model, weights, classes)
    if known and weights.classes != tuple(classes):
        new = len(classes) - len(known)
        say(f"classes: {shortened(known)} known by name and kept, {new} new")


def forget_weights() -> None:
    """Give the memory of the weights back."""
    _read.cache_clear()


@lru_cache(maxsize=1)
def _read(path: Path, *_: object) -> LoadedWeights:
    return read_checkpoint(path)
