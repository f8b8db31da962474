"""Networks without values, where only the shapes are wanted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode


class _Unfilled(TorchFunctionMode):
    """Leaves out what fills tensors at random: on the meta device that imports torch's compiler, for seconds."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        named = dict(kwargs or {})
        if getattr(func, "__name__", "").endswith(("normal_", "uniform_")):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


@contextmanager
def outlines() -> Iterator[None]:
    """Networks that are built in the block have shapes and types, and no values."""
    with torch.device("meta"), _Unfilled():
        yield
