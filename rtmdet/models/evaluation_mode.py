"""A network in evaluation mode for a while: batch norms use their statistics and do not move them."""

from threading import Lock

from torch import nn


class EvaluationMode:
    """`with` it, the modules that the model had at first evaluate; then each has its own mode again.

    Several threads may be inside at a time: the modes return with the last one.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = tuple(model.modules())  # once: to find them takes ten times as long as to look at each
        self._training: list[nn.Module] = []
        self._lock = Lock()
        self._inside = 0

    def __reduce__(self) -> tuple[type["EvaluationMode"], tuple[nn.Module]]:
        """To copy or store it with its model: a lock cannot be."""
        return EvaluationMode, (self._modules[0],)

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._training = [module for module in self._modules if module.training]
                self._set(training=False)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(training=True)

    def _set(self, *, training: bool) -> None:
        for module in self._training:
            object.__setattr__(module, "training", training)  # nn.Module's own takes milliseconds for all of them
