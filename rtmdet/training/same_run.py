"""Whether a checkpoint is of the run that is to be resumed from it."""

import re
from pathlib import Path

from rtmdet.core.distributed import world_size
from rtmdet.core.errors import InputError
from rtmdet.core.wording import shortened
from rtmdet.weights.checkpoint import CheckpointMeta, TrainingState


def check_same_run(
    path: Path, ours: CheckpointMeta, theirs: CheckpointMeta, state: TrainingState, steps: int
) -> None:
    """Raise InputError if the checkpoint at `path` is of another run, or an epoch now has other `steps`."""
    if state.steps != steps:
        raise InputError(
            f"{path}: its epochs have {state.steps} steps, but an epoch has {steps} here: resume with the "
            "data, data.batch_size, train.accumulate and the number of processes it was made with"
            + _fitting_batch_size(theirs.facts.config, ours.facts.config, len(state.torch_rng))
        )
    if others := _differences(_kind(ours), _kind(theirs)):
        raise InputError(f"{path}: is of another run ({shortened(others)}): choose another --output")


def _kind(meta: CheckpointMeta) -> dict[str, str]:
    """What a resumed run must have in common with its checkpoint."""
    facts = meta.facts
    height, width = meta.trained_size or facts.input_size
    classes = {f"class {label}": name for label, name in enumerate(facts.classes)}
    backbone = facts.backbone or "CSPNeXt"
    return {"the size": facts.size, "the backbone": backbone, "the input": f"{height} x {width} pixels", **classes}


def _fitting_batch_size(theirs: str, ours: str, processes: int) -> str:
    """The batch size that is theirs with another number of processes, as two configurations tell; empty: none."""
    before, now = (re.search(r"^  batch_size: (\d+)$", text, re.MULTILINE) for text in (theirs, ours))
    images = 0 if before is None else int(before[1]) * processes
    if not images or now is None or images == int(now[1]) * world_size() or images % world_size():
        return ""
    return f", {images} images per batch in all processes: data.batch_size={images // world_size()} fits here"


def _differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    keys = [what for what in {**ours, **theirs} if ours.get(what) != theirs.get(what)]
    return [f"{what} is {ours.get(what, 'missing')} here, {theirs.get(what, 'missing')} there" for what in keys]
