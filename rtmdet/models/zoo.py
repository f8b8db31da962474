"""The published models: their sizes and the addresses of their weights, as tables.

Sources: paper, table 2; the model zoos of mmdetection and mmpose. Nothing is downloaded here.
"""

from dataclasses import dataclass

# ImageNet statistics in the order blue, green, red, on 0 .. 255: as used to train the published weights.
BGR_MEAN = (103.53, 116.28, 123.675)
BGR_STD = (57.375, 57.12, 58.395)


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The parameters of a published size."""

    deepen: float  # factor on the backbone's blocks
    widen: float  # factor on all channels
    neck_blocks: int  # blocks in each CSP layer of the neck
    exponential: bool  # distances are exp(raw) * stride, else raw * stride
    depthwise: bool = False  # every 3 x 3 convolution after the stem is depthwise separable
    shared_head: bool = True  # the levels share the head's convolutions


SIZES = {
    "nano": ModelSize(0.33, 0.25, 1, exponential=False, depthwise=True, shared_head=False),
    "tiny": ModelSize(0.167, 0.375, 1, exponential=False),
    "s": ModelSize(0.33, 0.5, 1, exponential=False),
    "m": ModelSize(0.67, 0.75, 2, exponential=True),
    "l": ModelSize(1.0, 1.0, 3, exponential=True),
    "x": ModelSize(1.33, 1.25, 4, exponential=True),
}


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Parameters and multiply-adds of a published model."""

    classes: int
    parameters: int
    of_cell: int  # multiply-adds per 32 x 32 pixels of the input
    of_image: int  # multiply-adds independent of the input size: channel attention

    def multiply_adds(self, image_size: tuple[int, int]) -> int:
        """Multiply-adds for one image of (H, W) pixels, multiples of 32."""
        return self.of_cell * (image_size[0] // 32) * (image_size[1] // 32) + self.of_image


COSTS = {  # tests/models/complexity.py counts the same; nano is published as a person detector
    "nano": ModelCost(1, 994_423, 3_198_912, 87_040),
    "tiny": ModelCost(80, 4_896_168, 20_222_016, 195_840),
    "s": ModelCost(80, 8_886_924, 37_086_464, 348_160),
    "m": ModelCost(80, 24_709_188, 98_011_776, 783_360),
    "l": ModelCost(80, 52_315_804, 200_299_008, 1_392_640),
    "x": ModelCost(80, 94_855_572, 353_778_560, 2_176_000),
}


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A published checkpoint: its address, and the hash to verify a download."""

    size: str
    url: str
    sha256_prefix: str | None  # None: the publisher gave no hash
    backbone_only: bool = False
    box_ap: float | None = None  # COCO val2017, as published


_DETECTION = "https://download.openmmlab.com/mmdetection/v3.0/rtmdet"
_POSE = "https://download.openmmlab.com/mmpose/v1/projects/rtmpose"


def _coco(size: str, stamp: str, sha256_prefix: str, box_ap: float) -> PublishedWeights:
    run = f"rtmdet_{size}_8xb32-300e_coco"
    url = f"{_DETECTION}/{run}/{run}_{stamp}-{sha256_prefix}.pth"
    return PublishedWeights(size, url, sha256_prefix, box_ap=box_ap)


def _imagenet(size: str) -> PublishedWeights:
    url = f"{_DETECTION}/cspnext_rsb_pretrain/cspnext-{size}_imagenet_600e.pth"
    return PublishedWeights(size, url, sha256_prefix=None, backbone_only=True)


WEIGHTS = {
    "rtmdet-tiny-coco": _coco("tiny", "20220902_112414", "78e30dcc", 40.9),
    "rtmdet-s-coco": _coco("s", "20220905_161602", "387a891e", 44.5),
    "rtmdet-m-coco": _coco("m", "20220719_112220", "229f527c", 49.1),
    "rtmdet-l-coco": _coco("l", "20220719_112030", "5a0be7c4", 51.3),
    "rtmdet-x-coco": _coco("x", "20220715_230555", "cc79b9ae", 52.6),
    "rtmdet-nano-person": PublishedWeights(
        "nano", f"{_POSE}/rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.pth", "05d8511e"
    ),
    "cspnext-tiny-imagenet": _imagenet("tiny"),
    "cspnext-s-imagenet": _imagenet("s"),
}
