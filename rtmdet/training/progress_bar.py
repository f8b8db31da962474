"""The progress bar of a run; on standard error, so that results can be piped."""

from tqdm import tqdm

from rtmdet.core.console import bars_hidden, write_above_bar
from rtmdet.evaluation.coco import CocoMetrics, format_metrics, metric_text
from rtmdet.training.records import Callback, StepRecord, ValidationRecord


class TrainingBar(Callback):
    """A callback that draws one bar for the whole run: epoch, it/s, time left, losses, rate, memory."""

    def __init__(self, *, epochs: int, iterations: int, done: int) -> None:
        self._epochs = epochs
        self._last: CocoMetrics | None = None
        self._bar = tqdm(
            total=epochs * iterations, initial=done, unit="it", dynamic_ncols=True, disable=bars_hidden()
        )

    def on_step(self, record: StepRecord) -> None:
        """Advance by one step."""
        self._bar.set_description(f"epoch {record.epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(
            f"cls {record.loss_classification:.3f}, box {record.loss_box:.3f}, {record.positives_per_object:.1f} "
            f"matched priors per object, lr {record.learning_rate:.2e}, {record.memory_mb:.0f} MB",
            refresh=False,
        )
        self._bar.update()

    def on_new_length(self, epochs: int) -> None:
        """Change the length of the bar."""
        self._bar.total = self._bar.total // self._epochs * epochs
        self._epochs = epochs
        self._bar.refresh()

    def on_validation(self, record: ValidationRecord) -> None:
        """Print the main numbers above the bar."""
        names = ("AP", "AP50", "AP75")
        numbers = ", ".join(f"{n} {metric_text(v)}" for n, v in zip(names, record.metrics.numbers[:3], strict=True))
        write_above_bar(
            f"epoch {record.epoch}: {numbers}" + (" (best so far)" if record.best and record.metrics.ap > 0 else "")
        )
        self._last = record.metrics

    def close(self) -> None:
        """End the line of the bar; print all metrics of the last validation."""
        self._bar.close()
        if self._last is not None:
            write_above_bar(format_metrics(self._last))
            self._last = None
