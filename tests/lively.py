"""A small model whose outputs are as various as those of a trained one, and how near two detections must be."""

import torch
from torch.nn import functional as F

from rtmdet.core.detections import Detections
from rtmdet.models.rtmdet import RTMDet, build_rtmdet

CLASSES = ("cat", "dog", "emu")
SIZE = (64, 96)  # (H, W) of the network's input


def lively_model(num_classes: int = 3, *, backbone: str | None = None) -> RTMDet:
    """A nano model that gives various scores and boxes of tens of pixels, as a trained one does."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_rtmdet("nano", num_classes, backbone=backbone)
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    noise = (torch.randint(0, 256, (3, 3, 64 // s, 96 // s), generator=generator) for s in (1, 4, 16))
    images = torch.cat([F.interpolate(part.byte(), SIZE) for part in noise])  # coarse and fine
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.uniform_(0.7, 1.7, generator=generator)
        model.train()(images)  # statistics of real activations, so that the image comes through all layers
        for branch, weight, bias in (("rtm_cls", 0.2, -1.0), ("rtm_reg", 0.05, 1.0)):
            for layer in getattr(model.bbox_head, branch):
                layer.weight.normal_(0, weight, generator=generator)
                layer.bias.fill_(bias)
    return model.eval()


def assert_close(a: Detections, b: Detections) -> None:
    """The same up to rounding, which may exchange detections of nearly equal scores."""
    assert len(a) == len(b)
    rows = [torch.column_stack([one.boxes, 100 * one.scores, 1000 * one.labels]) for one in (a, b)]
    distances = torch.cdist(*rows, p=float("inf"))
    if len(a):
        assert max(distances.amin(0).max(), distances.amin(1).max()) < 0.1  # pixels, hundredths of a score
