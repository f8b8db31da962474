"""What other programs (OpenMMLab, Ultralytics, ...) call our options and settings, for hints about unknown ones."""

OTHER_NAMES = {  # -> ours, the first that fits: an option, a setting (with a dot) or a bare word; (): none is like it
    # options
    **dict.fromkeys(("batch", "batch-size", "bs"), ("--batch", "data.batch_size")),
    **dict.fromkeys(("imgsz", "img", "img-size", "image-size", "img-scale", "resolution"),
                    ("--input", "data.input_size")),
    **dict.fromkeys(("amp", "fp16"), ("--half", "train.precision")),
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
    **dict.fromkeys(("max-det", "topk", "max-per-img"), ("--max-boxes", "evaluation.max_detections")),
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
    "ratio-range": ("augmentation.resize_range",),
    "mixup": ("augmentation.mixup_probability",),
    "fliplr": ("augmentation.flip_probability",),
    **dict.fromkeys(("hsv-h", "hsv-s", "hsv-v"), ("augmentation.hsv",)),
    # of the training
    **dict.fromkeys(("lr", "lr0", "base-lr", "learning-rate"), ("train.learning_rate",)),
    **dict.fromkeys(("max-epochs", "num-epochs", "total-epochs"), ("--epochs", "train.epochs")),
    **dict.fromkeys(("warmup", "warmup-iters", "warmup-epochs"), ("train.warmup_iterations",)),
    **dict.fromkeys(("warmup-ratio", "start-factor"), ("train.warmup_start",)),
    **dict.fromkeys(("lrf", "eta-min"), ("train.final_factor",)),
    **dict.fromkeys(("auto-scale-lr", "auto-scale-lr.enable", "base-batch-size"), ("train.scale_learning_rate",)),
    **dict.fromkeys(("clip-grad", "grad-clip", "max-norm"), ("train.clip_gradient",)),
    "accumulative-counts": ("train.accumulate",),
    "val-interval": ("train.validate_every",),
    "dynamic-intervals": ("train.dense_validation",),
    "max-keep-ckpts": ("train.keep_epochs",),
    "vis-backends": ("train.tensorboard",),
    **dict.fromkeys(("optimizer", "optimizer.momentum", "checkpoint.interval"), ()),
    **dict.fromkeys(tuple(f"{test}.ann-file" for test in ("test-dataloader.dataset", "test-evaluator")), ()),
    **dict.fromkeys(("test-dataloader.dataset.data-prefix", "test-dataloader.dataset.data-prefix.img"), ()),
}  # fmt: skip


def other_names(key: str) -> tuple[str, ...] | None:
    """Our names for a dotted key or an option of another program; None if it is unknown."""
    words = key.lower().replace("_", "-").split(".")
    ends = (".".join(words[first:]) for first in range(len(words)))
    return next((OTHER_NAMES[end] for end in ends if end in OTHER_NAMES), None)
