"""What other programs (OpenMMLab, Ultralytics, ...) call our options and settings, for hints about unknown ones."""

import difflib
from collections.abc import Iterable

OTHER_NAMES = {  # -> ours, the first that fits: an option, a setting (with a dot) or a bare word
    # options
    **dict.fromkeys(("batch", "batch-size", "bs"), ("--batch", "data.batch_size")),
    **dict.fromkeys(("imgsz", "img", "img-size", "image-size", "img-scale", "resolution"),
                    ("--input", "data.input_size")),
    **dict.fromkeys(("amp", "fp16", "mixed-precision"), ("--half", "train.precision")),
    **dict.fromkeys(("gpu", "gpus", "cuda"), ("--device", "train.device")),
    **dict.fromkeys(("nw", "num-workers"), ("--workers", "data.workers")),
    **dict.fromkeys(("model", "weights", "checkpoint", "pretrained", "load-from"),
                    ("--weights", "WEIGHTS", "model.weights")),
    "name": ("--output", "--out"),
    **dict.fromkeys(("project", "output", "work-dir", "save-dir", "out-dir", "output-dir"),
                    ("--output", "--out", "train.output")),
    **dict.fromkeys(("resume", "resume-from", "auto-resume"), ("--resume",)),
    **dict.fromkeys(("cfg", "yaml"), ("--config", "--data")),
    **dict.fromkeys(("conf", "confidence", "conf-thres", "score-thr", "pred-score-thr", "threshold"),
                    ("--score", "evaluation.score_threshold")),
    **dict.fromkeys(("iou", "iou-thres", "iou-thr", "nms"), ("--nms-iou", "evaluation.iou_threshold")),
    **dict.fromkeys(("max-det", "max-detections", "topk", "max-per-img"),
                    ("--max-boxes", "evaluation.max_detections")),
    **dict.fromkeys(("save-txt", "save-json", "save-csv"), ("--save", "--out")),
    **dict.fromkeys(("cfg-options", "opts"), ("--set",)),
    **dict.fromkeys(("source", "img-path"), ("PATH", "PHOTOS")),
    "include": ("--format",),
    "task": ("--split",),
    # settings of the data; of several words in a key, those with the most are looked up first
    "ann-file": ("data.train.annotations",),
    **dict.fromkeys(("data-prefix", "data-prefix.img", "data-root"), ("data.train.images",)),
    **dict.fromkeys(("val-dataloader.dataset.ann-file", "val-evaluator.ann-file"), ("data.val.annotations",)),
    **dict.fromkeys(
        tuple(f"val-dataloader.dataset.{end}" for end in ("data-prefix", "data-prefix.img", "data-root")),
        ("data.val.images",),
    ),
    "filter-empty-gt": ("data.keep_empty",),
    "num-classes": ("data.classes",),
    # of the augmentation
    **dict.fromkeys(("switch-epoch", "close-mosaic"), ("augmentation.stage2_epochs",)),
    **dict.fromkeys(("ratio-range", "scale"), ("augmentation.resize_range",)),
    **dict.fromkeys(("mosaic-prob", "mosaic-probability"), ("augmentation.mosaic",)),
    "mixup": ("augmentation.mixup_probability",),
    **dict.fromkeys(("fliplr", "hflip", "horizontal-flip"), ("augmentation.flip_probability",)),
    **dict.fromkeys(("hsv-h", "hsv-s", "hsv-v"), ("augmentation.hsv",)),
    # of the training
    **dict.fromkeys(("lr", "lr0", "base-lr", "learning-rate"), ("train.learning_rate",)),
    **dict.fromkeys(("max-epochs", "num-epochs", "total-epochs"), ("--epochs", "train.epochs")),
    **dict.fromkeys(("warmup", "warmup-iters", "warmup-steps", "warmup-epochs"), ("train.warmup_iterations",)),
    **dict.fromkeys(("warmup-ratio", "start-factor"), ("train.warmup_start",)),
    **dict.fromkeys(("lrf", "eta-min"), ("train.final_factor",)),
    **dict.fromkeys(("auto-scale-lr", "auto-scale-lr.enable", "base-batch-size"), ("train.scale_learning_rate",)),
    **dict.fromkeys(("clip-grad", "grad-clip", "max-norm"), ("train.clip_gradient",)),
    "accumulative-counts": ("train.accumulate",),
    "val-interval": ("train.validate_every",),
    "dynamic-intervals": ("train.dense_validation",),
    "max-keep-ckpts": ("train.keep_epochs",),
    "vis-backends": ("train.tensorboard",),
    "data.size": ("data.input_size",),
    "evaluation.size": ("evaluation.input_size",),
}  # fmt: skip


IN_CODE = "it is fixed; docs/changing-the-method.md shows how to change it in code"
TEST_IMAGES = "a run uses no test images; `rtmdet evaluate RUN --annotations FILE --images FOLDER` measures on them"
EXTRA = 'an extra transform does this: --set "augmentation.extra=[{{name: {}, parameters: {{{}p: 0.5}}}}]"'
ADVICE = {  # what to do instead of a setting of that name
    **dict.fromkeys(
        ("optimizer", "optimizer.type", "optimizer.momentum", "optim-wrapper.type", "optim", "optimiser", "momentum",
         "warmup-momentum", "nesterov", "betas", "scheduler", "lr-scheduler", "param-scheduler", "loss", "criterion",
         "assigner", "anchors", "deepen-factor", "widen-factor", "model.depth", "model.width", "model.head"), IN_CODE
    ),
    "ema-decay": "train.ema_momentum is 1 minus the decay",
    "checkpoint.interval": "last.pth is written after every epoch; train.save_every: also after that number of steps",
    **dict.fromkeys(("data.test", "test.images", "test.annotations"), TEST_IMAGES),
    **dict.fromkeys((f"test-{kind}.ann-file" for kind in ("dataloader.dataset", "evaluator")), TEST_IMAGES),
    **dict.fromkeys((f"test-dataloader.dataset.data-prefix{end}" for end in ("", ".img")), TEST_IMAGES),
    **dict.fromkeys(("flipud", "vflip", "vertical-flip"), EXTRA.format("VerticalFlip", "")),
    **dict.fromkeys(("degrees", "rotate", "rotation"), EXTRA.format("Rotate", "limit: 10, ")),
    "shear": EXTRA.format("Affine", "shear: 10, "),
    "translate": EXTRA.format("Affine", "translate_percent: 0.1, "),
    "perspective": EXTRA.format("Perspective", ""),
    **dict.fromkeys(("brightness", "contrast"), EXTRA.format("RandomBrightnessContrast", "")),
    "blur": EXTRA.format("GaussianBlur", ""),
    "noise": EXTRA.format("GaussNoise", ""),
    "grayscale": EXTRA.format("ToGray", ""),
    **dict.fromkeys(("cutout", "erasing"), EXTRA.format("CoarseDropout", "")),
}  # fmt: skip


def other_names(key: str) -> tuple[str, ...] | str:
    """Our names for a dotted key or an option of another program, or advice where there are none; () if unknown."""
    words = key.lower().replace("_", "-").split(".")
    ends = (".".join(words[first:]) for first in range(len(words)))
    return next((found for end in ends if (found := OTHER_NAMES.get(end) or ADVICE.get(end))), ())


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` misspells or, of several letters, begins; None if all are far apart.

    Another first letter makes another word: momentum is not ema_momentum.
    """
    alike = [other for other in known if other[:1] == name[:1]]
    begun = [other for other in alike if len(name) > 3 and other.startswith(name)]
    return next(iter(difflib.get_close_matches(name, alike, n=1, cutoff=0.8) or begun), None)
