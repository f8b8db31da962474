"""The log of a run for TensorBoard: scalars, and pictures of what is detected. Needs the extra `tensorboard`."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import CONTINUE, unwritable
from rtmdet.evaluation.coco import NAMES
from rtmdet.training.log import MEANS
from rtmdet.training.records import Callback, StepRecord, ValidationRecord

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SCALARS = [field.name for field in fields(StepRecord) if field.name not in ("epoch", "iteration")]


class TensorBoardLog(Callback):
    """A callback that writes into folder/tensorboard; the step of every value is the run's iteration.

    Training scalars are those of log.jsonl, every `log_every` steps. After each validation come its 12 metrics,
    except undefined ones, and the `pictures`, RGB uint8 (H, W, 3) of any sizes. A resumed run hides earlier values
    from the same step on. Raises InputError if TensorBoard is not installed or the folder cannot be written.
    """

    def __init__(self, folder: Path, *, log_every: int, pictures: Callable[[], Sequence[np.ndarray]]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "train.tensorboard: TensorBoard is not installed: pip install tensorboard, or set "
                "train.tensorboard=false"
            ) from error
        self._new_writer = SummaryWriter
        self.folder = folder / "tensorboard"
        self._log_every = log_every
        self._pictures = pictures
        self._window: list[StepRecord] = []
        self._writer: SummaryWriter | None = None  # opened at the first record, which knows the first step
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error, "TensorBoard folder", CONTINUE) from error

    def on_step(self, record: StepRecord) -> None:
        """Collect a step; every `log_every` steps write their means."""
        self._open(record.iteration)
        self._window.append(record)
        if record.iteration % self._log_every == 0:
            self.flush()

    def on_validation(self, record: ValidationRecord) -> None:
        """Write the 12 metrics and the pictures."""
        writer = self._open(record.iteration + 1)  # + 1: a resumed run that starts here keeps the step's losses
        for name, number in zip(NAMES, record.metrics.numbers, strict=True):
            if number >= 0:  # -1 means undefined
                writer.add_scalar(f"val/{name}", number, record.iteration)
        for index, picture in enumerate(self._pictures()):
            writer.add_image(f"predictions/{index}", picture, record.iteration, dataformats="HWC")

    def on_save(self) -> None:
        """Write the rest: an epoch ends here, or a resumed run starts."""
        self.flush()

    def flush(self) -> None:
        """Write the steps since the last row, and everything to the disk."""
        if self._writer is None:
            return
        for name in SCALARS if self._window else ():
            values = [getattr(step, name) for step in self._window]
            value = fmean(values) if name in MEANS else values[-1]
            self._writer.add_scalar(f"train/{name}", value, self._window[-1].iteration)
        self._window.clear()
        self._writer.flush()

    def close(self) -> None:
        """Write the rest, and close the file."""
        self.flush()
        if self._writer is not None:
            self._writer.close()

    def _open(self, iteration: int) -> "SummaryWriter":
        """The writer; a new one invalidates what earlier files hold from `iteration` on."""
        if self._writer is None:
            try:
                self._writer = self._new_writer(str(self.folder), purge_step=iteration)
            except OSError as error:
                raise unwritable(self.folder, error, "TensorBoard folder", CONTINUE) from error
        return self._writer
