"""What torch puts around a network: torch.compile, parallel training, averages of its weights."""

from torch import nn

WRAPPERS = ("module", "_orig_mod")  # names of the network inside; those of its tensors then contain them


def unwrap(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network inside all wrappers, and what to call: the network itself, or its compiled form.

    Wrappers of parallel training are never called: they wait for other processes.
    """
    called = model
    while len(children := dict(model.named_children())) == 1 and next(iter(children)) in WRAPPERS:
        [(name, model)] = children.items()
        called = model if name == "module" else called
    return model, called
