"""Freezing layers by name for fine-tuning, batch norms included."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rtmdet.core.errors import InputError


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Freeze all parameters that match a pattern, in place.

    A pattern (`*`, `?`, `[...]`) matches parameters, or modules with everything below: `neck` equals `neck.*`. A
    parameter with several names, such as the head's shared convolutions, is frozen if one of them matches. Returns
    the batch norms whose parameters are all frozen: keep them in evaluation mode while training. Raises InputError
    for a pattern that matches nothing, and if nothing is left to train.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        matched = [name for name in parameters if any(fnmatchcase(part, pattern) for part in _owners(name))]
        if not matched:
            raise InputError(
                f"model.freeze: {pattern!r} matches no parameter or module: {_nearest(pattern, parameters)}"
            )
        for name in matched:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise InputError(f"model.freeze: {', '.join(patterns)} leave nothing to train: freeze less")
    return [layer for layer in batch_norms(model) if _is_frozen(layer)]


def set_training(model: nn.Module, frozen: Sequence[nn.Module]) -> None:
    """Training mode, except for frozen parts."""
    model.train()
    for module in frozen:
        module.eval()


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All batch norms of a model."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]


def _owners(name: str) -> list[str]:
    """a.b.weight -> a, a.b, a.b.weight: the modules that hold a parameter, and itself."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _is_frozen(layer: nn.Module) -> bool:
    parameters = list(layer.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _nearest(pattern: str, parameters: Iterable[str]) -> str:
    """Names similar to the pattern, or the model's parts."""
    known = list(dict.fromkeys(part for name in parameters for part in _owners(name)))
    near = difflib.get_close_matches(pattern.rstrip(".*"), known, n=3)
    return f"nearest: {', '.join(near)}" if near else f"the model has {', '.join(n for n in known if '.' not in n)}"
