"""Our own checkpoints: weights with the metadata for their use, and optionally the state to resume training.

The layout, which OpenMMLab's tools can read and torch.load(weights_only=True) accepts:
    state_dict  averaged (EMA) weights
    meta        format, epoch, iteration, config, score_thresholds,
                dataset_meta: {classes, category_ids},
                model: {size, num_classes, input_size, trained_size, backbone, value_range,
                        iou_threshold, box_voting, tile}
                cfg: OpenMMLab's configuration, only in exports for it
    training    optional: the fields of TrainingState
"""

import contextlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtmdet.core.console import warn_once
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts, as_pair, model_facts, plain_facts
from rtmdet.core.whole_file import CONTINUE, reason_of, remove_file, replace_file
from rtmdet.weights.unpickling import read_pickled

FORMAT = "plain-rtmdet/1"
FACTS_OF_MODEL = ("size", "backbone", "input_size", "value_range", "iou_threshold", "box_voting", "tile")
LAST, PREVIOUS = "last.pth", "previous.pth"  # the newest training state of a run and the one before it
WAITING = "last.waiting.pth"  # a newer one, while another program has one of them open


@dataclass(frozen=True, slots=True)
class CheckpointMeta:
    """Everything besides the weights that affects predictions, and the point in training."""

    facts: ModelFacts
    epoch: int = 0  # finished epochs
    iteration: int = 0  # finished iterations
    trained_size: tuple[int, int] | None = None  # (H, W) in training; None: input_size
    openmmlab_config: str = ""  # Python text for mmdet, written as `cfg` and never read here; empty: left out
    made_with: str = ""  # programs, machine, date and first weights of the run; for information


@dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """The state besides the averaged weights that is needed to resume training."""

    model: dict[str, Tensor]  # the weights that the optimizer works on
    optimizer: dict[str, Any]  # the optimizer's own state_dict
    scaler: dict[str, Any]  # of the gradient scaler; empty without fp16
    ema_updates: int
    iteration: int  # finished steps of the whole run
    epoch: int  # finished epochs
    step: int  # finished steps of the current epoch
    steps: int  # steps per epoch
    best_ap: float
    validations_since_best: int
    torch_rng: Tensor  # (processes, n) uint8, torch.get_rng_state()
    cuda_rng: Tensor  # (processes, n) uint8; (processes, 0) without CUDA


def save_checkpoint(
    path: Path,
    *,
    model_state: Mapping[str, Tensor],
    meta: CheckpointMeta,
    training: TrainingState | None = None,
    in_run: bool = False,
) -> None:
    """Write a checkpoint; it replaces a previous file of that name only once complete.

    With a training state, the previous file is kept as PREVIOUS. Where that cannot be replaced `in_run`, as on
    Windows while another program has it open, the new one is kept as NAME.waiting.pth, with one warning per run.
    Raises InputError if the file cannot be written, for instance on a full disk.
    """
    content: dict[str, object] = {"state_dict": dict(model_state), "meta": _meta_to_dict(meta)}
    if training is not None:
        content["training"] = {field.name: getattr(training, field.name) for field in fields(training)}
    part, waiting = path.with_name(path.name + ".part"), path.with_name(f"{path.stem}.waiting{path.suffix}")
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            _place(part, path, keep=training is not None)
        except PermissionError as error:
            if not in_run:
                raise
            replace_file(part, waiting)
            warn_once(
                f"warning: {path} cannot be replaced ({reason_of(error)}): close the program that has it open; until "
                f"then the newest is {waiting.name}"
            )
        else:
            if in_run and waiting.exists():
                remove_file(waiting)
    except (OSError, RuntimeError) as error:  # torch hides a failed write in a RuntimeError
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        remains = ", the previous file is kept" if path.is_file() else ""
        raise InputError(
            f"{path}: the checkpoint cannot be written ({reason_of(reason)}){remains}; {CONTINUE}"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # nothing to remove: finished, or never started
            part.unlink()


def _place(part: Path, path: Path, *, keep: bool) -> None:
    """Give a complete file its name; `keep` the previous one as PREVIOUS. Raises OSError, and nothing has changed."""
    previous = path.with_name(PREVIOUS)
    keep = keep and zipfile.is_zipfile(path)  # a truncated one must not replace a complete one
    if keep:
        replace_file(path, previous)
    try:
        replace_file(part, path)  # interrupted anywhere, a complete checkpoint remains under a known name
    except OSError:
        if keep:
            replace_file(previous, path)
        raise


def newest_file(folder: Path) -> Path:
    """The newest weights of a run, by their name; they need not be there."""
    return folder / (WAITING if (folder / WAITING).is_file() else LAST)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run's folder has something to resume from."""
    return any((folder / name).exists() for name in (LAST, PREVIOUS, WAITING))


def newest_checkpoint(folder: Path) -> tuple[Path, InputError | None]:
    """The newest intact training checkpoint of a run's folder, and the fault of a newer one, if any.

    Raises InputError if none is intact.
    """
    found: dict[tuple[int, int], Path] = {}
    fault: InputError | None = None
    for name in (WAITING, LAST, PREVIOUS):
        if name == PREVIOUS and found and fault is None:
            break
        if name == LAST or (folder / name).is_file():
            try:
                meta = read_training_checkpoint(folder / name)[1]
                found.setdefault((meta.iteration, meta.epoch), folder / name)
            except InputError as error:
                fault = fault or error
    if found:
        return found[max(found)], fault
    best = f", with --weights {folder / 'best.pth'}" if (folder / "best.pth").is_file() else ""
    raise InputError(f"{fault}; there is no intact {PREVIOUS} either: begin another run{best}") from fault


def read_training_checkpoint(path: Path) -> tuple[dict[str, Tensor], CheckpointMeta, TrainingState]:
    """The averaged weights, their metadata, and the state to resume training from.

    Raises InputError if the file is damaged, is not ours, or holds only weights.
    """
    content = read_pickled(path)
    if not isinstance(content, dict) or not is_ours(content):
        raise InputError(
            f"{path}: expected a checkpoint of {FORMAT}, found another file: give it with --weights instead"
        )
    meta = parse_meta(content["meta"], path)
    training, state = content.get("training"), content.get("state_dict")
    if not isinstance(training, dict) or not isinstance(state, dict):
        raise InputError(
            f"{path}: holds weights but no training state, which only the last.pth of a run has: begin another run "
            "with --weights and this file"
        )
    missing = [field.name for field in fields(TrainingState) if field.name not in training]
    if missing:
        raise InputError(f"{path}: the training state lacks {', '.join(missing)}: resume from another file")
    return state, meta, TrainingState(**{field.name: training[field.name] for field in fields(TrainingState)})


def is_ours(content: Mapping[Any, Any]) -> bool:
    """Whether the content of a file is a checkpoint of this package."""
    meta = content.get("meta")
    return isinstance(meta, dict) and meta.get("format") == FORMAT


def parse_meta(meta: Mapping[str, Any], path: Path) -> CheckpointMeta:
    """The `meta` of one of our checkpoints; raises InputError if a part is missing or of another type."""
    try:
        trained = meta["model"].get("trained_size")
        return CheckpointMeta(
            model_facts({**meta["model"], **meta["dataset_meta"], **meta}),
            epoch=int(meta["epoch"]),
            iteration=int(meta["iteration"]),
            trained_size=None if trained is None else as_pair(trained),
            made_with=str(meta.get("made_with", "")),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        what = str(error) if isinstance(error, InputError) else f"{type(error).__name__} {error}"
        raise InputError(f"{path}: `meta` of the checkpoint is damaged: {what}") from error


def _meta_to_dict(meta: CheckpointMeta) -> dict[str, object]:
    facts = plain_facts(meta.facts)
    return {
        "format": FORMAT,
        "dataset_meta": {name: facts[name] for name in ("classes", "category_ids")},
        "model": {
            **{name: facts[name] for name in FACTS_OF_MODEL},
            "num_classes": len(meta.facts.classes),
            "trained_size": None if meta.trained_size is None else list(meta.trained_size),
        },
        **{name: facts[name] for name in ("config", "score_thresholds")},
        "epoch": meta.epoch,
        "iteration": meta.iteration,
        "made_with": meta.made_with,
        **({"cfg": meta.openmmlab_config} if meta.openmmlab_config else {}),
    }
