"""The plan of a run: its length, and when it is validated and saved."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of a run, and when it is validated and saved."""

    epochs: int
    validate_every: int
    dense_validation: int = 0  # number of last epochs that are all validated
    accumulate: int = 1  # batches per step
    patience: int | None = None  # validations without a better AP that end the run
    save_every: int | None = None  # steps between checkpoints inside an epoch
    keep_epochs: int = 0  # validated epochs whose weights are kept

    def is_validated(self, epoch: int) -> bool:
        """Whether the epoch, counted from 1, ends with a validation; the last one always does."""
        dense = epoch > self.epochs - self.dense_validation
        return dense or epoch % self.validate_every == 0 or epoch == self.epochs
