"""Layers by name, and their outputs through forward hooks. Works on any nn.Module.

A name is a module path as written in Python: `backbone`, `neck.out_convs[0]`, `backbone.stage4[2].blocks[0]`.
It is parsed, never evaluated.
"""

import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from rtmdet.core.errors import InputError
from rtmdet.core.wrappers import unwrap

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*|\.\d+|\[\d+\])*", re.ASCII)
_PART = re.compile(r"\w+", re.ASCII)


def parse_layer_name(name: str) -> tuple[str | int, ...]:
    """The attributes and indices of a layer's path: `neck.out_convs[0]` or `neck.out_convs.0` -> neck, out_convs, 0.

    Raises InputError for anything else.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"layer name {name!r} is not a module path: write it like neck.out_convs[0]")
    return tuple(int(part) if part.isdigit() else part for part in _PART.findall(name))


def layer_names(model: nn.Module) -> list[str]:
    """The names of all layers below `model` that are called, in the order of their definition.

    Lists of layers are left out: they are never called themselves.
    """
    named = unwrap(model)[0].named_modules(remove_duplicate=False)
    return [_bracketed(path) for path, layer in named if path and _runs(layer)]


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that name. Raises InputError, with the nearest names, if no such layer is ever called."""
    path = ".".join(str(part) for part in parse_layer_name(name))
    layer = dict(unwrap(model)[0].named_modules(remove_duplicate=False)).get(path)
    if layer is not None and _runs(layer):
        return layer
    names = layer_names(model)
    near = [known for known in names if known.endswith(f".{_bracketed(path)}")][:3]
    near = near or difflib.get_close_matches(_bracketed(path), names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    found = "does not exist" if layer is None else "is a list of layers and has no output itself"
    raise InputError(f"layer {name!r} {found}: {hint}rtmdet visualize --list-layers prints all names")


@contextmanager
def capture(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Record the outputs of the layers of these names while the block runs; meanwhile torch.compile has no effect.

    Yields a dictionary that each forward pass fills: name -> the layer's outputs as detached copies. Tuples and lists
    are flattened; a layer that is called several times adds its outputs each time. The hooks are always removed at
    the end of the block. Raises InputError for unknown names.
    """
    outputs: dict[str, list[Tensor]] = {name: [] for name in names}
    layers = {name: find_layer(model, name) for name in outputs}

    def record(name: str, _layer: nn.Module, _inputs: object, output: object) -> None:
        # A copy, because the next layer can be an in-place activation.
        outputs[name].extend(tensor.detach().clone() for tensor in flatten_outputs(output))

    handles = [layer.register_forward_hook(partial(record, name)) for name, layer in layers.items()]
    compiled = "torch._dynamo" in sys.modules  # whose networks call no hooks
    try:
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            yield outputs
    finally:
        for handle in handles:
            handle.remove()


def flatten_outputs(output: object) -> list[Tensor]:
    """All tensors of a layer's output in order: of a tensor itself, or of nested tuples and lists of tensors."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, (tuple, list)):
        return [tensor for part in output for tensor in flatten_outputs(part)]
    return []


def _runs(layer: nn.Module) -> bool:
    return not isinstance(layer, (nn.ModuleList, nn.ModuleDict))


def _bracketed(path: str) -> str:
    """The path of named_modules in Python's notation: `neck.out_convs.0` -> `neck.out_convs[0]`."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path)
