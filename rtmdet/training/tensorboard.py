"""The log of a run for TensorBoard: scalars, and pictures of what is detected. Needs the extra `tensorboard`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import CONTINUE, writing
from rtmdet.evaluation.coco import NAMES
from rtmdet.training.log import PLACE, Row
from rtmdet.training.records import Callback, ValidationRecord

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def writer_of_tensorboard() -> "type[SummaryWriter]":
    """torch's writer of its files. Raises InputError if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "train.tensorboard: TensorBoard is not installed: pip install tensorboard, or set train.tensorboard=false"
        ) from error
    return SummaryWriter


class TensorBoardLog(Callback):
    """A callback that writes into folder/tensorboard; the step of every value is the run's iteration.

    Training scalars are the rows of log.jsonl, where `write` is a reader of it. After each validation come its 12
    metrics, except undefined ones, and the `pictures`, RGB uint8 (H, W, 3) of any sizes. A run resumed after
    `iterations` steps hides what earlier files hold of later ones. Raises InputError if TensorBoard is not installed
    or the folder cannot be written.
    """

    def __init__(self, folder: Path, *, iterations: int = 0, pictures: Callable[[], Sequence[np.ndarray]]) -> None:
        self._new_writer = writer_of_tensorboard()
        self.folder = folder / "tensorboard"
        self._iterations = iterations
        self._pictures = pictures
        self._writer: SummaryWriter | None = None  # opened with the first value
        with writing(self.folder, "TensorBoard folder", CONTINUE):
            self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, row: Row) -> None:
        """Write the numbers of a training row."""
        writer = self._open()
        for name, value in row.items():
            if name not in ("kind", *PLACE):
                writer.add_scalar(f"train/{name}", value, row["iteration"])
        writer.flush()

    def on_validation(self, record: ValidationRecord) -> None:
        """Write the 12 metrics and the pictures."""
        writer = self._open()
        for name, number in zip(NAMES, record.metrics.numbers, strict=True):
            if number >= 0:  # -1 means undefined
                writer.add_scalar(f"val/{name}", number, record.iteration)
        for index, picture in enumerate(self._pictures()):
            writer.add_image(f"predictions/{index}", picture, record.iteration, dataformats="HWC")
        writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> "SummaryWriter":
        """The writer; a new one invalidates what earlier files hold of later steps."""
        if self._writer is None:
            with writing(self.folder, "TensorBoard folder", CONTINUE):
                self._writer = self._new_writer(str(self.folder), purge_step=self._iterations + 1)
        return self._writer
