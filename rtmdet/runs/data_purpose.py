"""The training that a data set is checked for: its input size, classes and settings."""

from pathlib import Path

from rtmdet.config.file import load_config
from rtmdet.core.errors import InputError
from rtmdet.data.doctor.finding import Purpose


def read_purpose(config: Path | None, weights: str | None, side: int | None) -> Purpose:
    """The planned training, from a configuration or a checkpoint; `side` overrides their input size."""
    if side is not None and (side < 64 or side % 32):
        raise InputError(f"--input: expected a multiple of 32, at least 64, found {side}; give another size")
    given = None if side is None else (side, side)
    if config is not None:
        data = load_config(config).data
        return Purpose(
            input_size=given or data.input_size,
            classes=data.classes,
            keep_empty=data.keep_empty,
            repeat_threshold=data.repeat_threshold,
            tile=data.tile or None,
        )
    default = Purpose().input_size
    if weights is None:
        return Purpose(input_size=given or default)
    from rtmdet.weights.download import resolve  # imports torch: seconds, for this case alone
    from rtmdet.weights.load import read_checkpoint

    checkpoint = read_checkpoint(resolve(weights, progress=True))
    if checkpoint.classes is None:
        raise InputError(f"{weights}: the checkpoint stores no class names to compare with; leave --weights out")
    return Purpose(
        input_size=given or checkpoint.trained_size or checkpoint.input_size or default,
        known_classes=tuple(checkpoint.classes),
    )
