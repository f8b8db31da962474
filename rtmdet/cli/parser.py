"""The options of every command, for argparse: no heavy imports, so that --help is fast."""

import argparse
from pathlib import Path
from typing import Any

from rtmdet import __version__
from rtmdet.cli.command import OneLineParser, as_path, new_command
from rtmdet.cli.data_parser import add_data
from rtmdet.data.split_names import SPLITS, usual_split

BOX_AM_METHODS = ("gradcam", "gradcam++", "eigencam", "ablationcam")
EVALUATION_BACKENDS = ("pycocotools", "hotcoco")
INPUT_SIDE = -1  # --tile without a number
REDUCTIONS = ("squeeze_mean", "select_max", "topk")
COMMANDS = (
    "train", "check", "evaluate", "compare", "infer", "label", "export", "benchmark", "visualize",
    "plot", "data", "info",
)  # fmt: skip
LABEL_FORMATS = ("labelme", "cvat", "yolo", "voc", "coco")
SAVE_FORMATS = ("coco", "csv", "yolo", "voc", "labelme", "cvat", "mot")  # of infer --save
EXPORT_FORMATS = ("onnx", "openvino", "safetensors", "openmmlab")


def _window_side(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of pixels, or 0 for whole pictures, found {text!r}")
    return int(text)


def _score(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or auto, found {text!r}") from None


SHARED: dict[str, dict[str, Any]] = {  # options of several commands
    "--weights": {
        "default": "rtmdet-tiny-coco",
        "help": "checkpoint, folder of a run (its last.pth) or published name (default rtmdet-tiny-coco)",
    },
    "--size": {"help": "model size (nano tiny s m l x), if the checkpoint does not store it"},
    "--class-names": {"metavar": "A,B,C",
                      "help": "class names in order, if the checkpoint stores none or wrong ones"},
    "--input": {"type": int, "help": "side of the square input in pixels (default: the checkpoint's)"},
    "--device": {"default": "auto", "help": "cpu, cuda, cuda:1, mps or auto (default)"},
    "--half": {"action": "store_true", "help": "16-bit floats on a CUDA GPU: faster, nearly equal boxes"},
    "--score": {"type": _score, "default": "auto",
                "help": "score threshold: a number, or auto (default): for each class the one with the best F1 in "
                "the run's validation, 0.3 if the weights store none"},
    "--tta": {"action": "store_true",
              "help": "test-time augmentation: detect at 3 sizes, each also mirrored, and merge by NMS, with box "
              "voting if the weights have it (6 times as slow)"},
    "--tile": {"type": _window_side, "nargs": "?", "const": INPUT_SIDE, "metavar": "SIDE",
               "help": "for small objects in large pictures: also detect in overlapping windows of SIDE x SIDE "
               "pixels (without a number: the input size of the network; 0: no windows; default: as in the "
               "training run, data.tile)"},
    "--batch": {"type": int, "default": 8, "help": "images per pass of the network (default 8)"},
    "--split": {"type": usual_split, "choices": SPLITS,
                "help": "split of --data (default: val, else test, else train)"},
    "--recursive": {"action": "store_true", "help": "also search subfolders"},
    "--hide-labels": {"action": "store_true", "help": "draw boxes without class names and scores"},
}  # fmt: skip


def add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add options of SHARED."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    text = "RTMDet object detector in plain PyTorch: train it on your own photos, measure it, use it, look inside."
    parser = OneLineParser(prog="rtmdet", description=text)
    parser.add_argument("--version", action="version", version=f"rtmdet {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_check(commands)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_infer(commands)
    _add_label(commands)
    _add_export(commands)
    _add_benchmark(commands)
    _add_visualize(commands)
    _add_plot(commands)
    add_data(commands)
    _add_info(commands)
    return parser


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = new_command(commands, "train", "Train or fine-tune a detector.")
    _add_run_options(parser)
    parser.add_argument("--resume", type=as_path, nargs="?", const=True, default=False, metavar="RUN",
                        help="continue the run in the folder RUN with its own settings; without RUN that in the "
                        "output folder")  # fmt: skip
    parser.add_argument("--minutes", type=float, metavar="N",
                        help="with --data: choose the number of epochs (and a smaller input if needed) so that the "
                        "command ends after about N minutes")  # fmt: skip
    parser.add_argument("--folds", type=int, metavar="K",
                        help="with --data: K-fold cross-validation: K runs, each validated on a different 1/K of the "
                        "images")  # fmt: skip


def _add_check(commands: argparse._SubParsersAction) -> None:
    text = "Check data, classes and first loss as training does before its first step."
    parser = new_command(commands, "check", text)
    _add_run_options(parser)
    parser.add_argument("--overfit", action="store_true", help="also test that the model can overfit up to 8 boxes")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--config", type=as_path, help="YAML file with the settings, see configs/")
    what.add_argument("--data", type=as_path, metavar="PATH",
                      help="your own data set, a folder or file: COCO, YOLO, Pascal VOC, LabelMe, CVAT or VIA; "
                      "hyper-parameters are derived from the data and printed")  # fmt: skip
    parser.add_argument("--images", type=as_path, metavar="FOLDER",
                        help="folder of the images of --data (default: found near the labels)")  # fmt: skip
    parser.add_argument("--weights", help="checkpoint, folder of a run or published name to start from; 'none': "
                        "train from scratch (default: that of --config; with --data rtmdet-tiny-coco)")  # fmt: skip
    parser.add_argument("--keep-classes", action="store_true",
                        help="with --data: keep all classes of the weights, add the data's new ones")  # fmt: skip
    parser.add_argument("--epochs", type=int, metavar="N",
                        help="length of the run (default: that of --config; with --data derived from the number of "
                        "images)")  # fmt: skip
    parser.add_argument("--output", type=as_path, metavar="FOLDER",
                        help="folder of the run (default: that of --config; with --data runs/ and the name of the "
                        "data)")  # fmt: skip
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="any other setting, e.g. --set data.batch_size=4; may be repeated")  # fmt: skip


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = new_command(commands, "evaluate", "Measure a detector: the 12 COCO metrics and a table of the classes.")
    parser.add_argument("run_folder", nargs="?", metavar="RUN",
                        help="folder of a run: measures last.pth, by default on its validation images")  # fmt: skip
    add_shared(parser, "--weights", "--size", "--class-names", "--input", "--device")
    parser.set_defaults(weights=None)  # given, or those of RUN
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument("--data", type=as_path, metavar="PATH",
                       help="data set, a folder or file in any known format (see train)")  # fmt: skip
    truth.add_argument("--annotations", type=as_path, help="COCO JSON with the ground truth")
    parser.add_argument("--images", type=as_path, help="folder of the images (default: found near the labels)")
    add_shared(parser, "--split", "--half")
    parser.add_argument("--batch", type=int, default=8, help="batch size (default 8)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default 2)")
    parser.add_argument("--backend", choices=EVALUATION_BACKENDS,
                        help="library that computes the metrics; hotcoco gives the same numbers much faster "
                        "(default: as in the training run, else pycocotools)")  # fmt: skip
    add_shared(parser, "--tta", "--tile")
    parser.add_argument("--no-interval", action="store_true",
                        help="skip the 95 %% confidence interval of AP (bootstrap over the images)")  # fmt: skip
    parser.add_argument("--f1", type=as_path, metavar="PICTURE",
                        help="plot F1 against the score threshold and precision against recall, per class (.png, "
                        ".pdf, .svg)")  # fmt: skip
    parser.add_argument("--mistakes", type=as_path, metavar="FOLDER",
                        help="count missed objects, false boxes and confused classes at the score thresholds, "
                        "and draw the images with most of them into this new folder")  # fmt: skip
    parser.add_argument("--out", type=as_path, help="write the detections as COCO results JSON")
    parser.add_argument("--json", type=as_path, help="write all numbers, the settings and the SHA-256 of the weights")
    parser.add_argument("--min-ap", type=float, metavar="AP", help="exit with 1 if AP is lower (0 .. 1)")


def _add_compare(commands: argparse._SubParsersAction) -> None:
    text = "Compare two runs: which is better, and is the difference more than chance?"
    parser = new_command(commands, "compare", text)
    what = "folder of a run, checkpoint, published name, or COCO results JSON of evaluate --out"
    parser.add_argument("run_a", metavar="RUN_A", help=what)
    parser.add_argument("run_b", metavar="RUN_B", help="likewise")
    parser.add_argument("--annotations", type=as_path, help="COCO JSON (default: the runs' validation data)")
    parser.add_argument("--images", type=as_path, help="folder of the images (default: the runs' validation data)")
    parser.add_argument("--input", type=int, help="side of the square input in pixels (default: each run's own)")
    parser.add_argument("--batch", type=int, default=8, help="batch size (default 8)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default 2)")
    parser.add_argument("--backend", choices=EVALUATION_BACKENDS,
                        help="library that computes the metrics (default pycocotools)")  # fmt: skip
    parser.add_argument("--json", type=as_path, help="write all numbers, the difference and the verdict")
    add_shared(parser, "--device")


def _add_infer(commands: argparse._SubParsersAction) -> None:
    parser = new_command(commands, "infer", "Detect objects in images and videos.")
    parser.add_argument("paths", nargs="+", metavar="PATH",
                        help="image, folder, glob pattern, http(s) address of an image, video, stream "
                        "(rtsp://...), or number of a camera (0)")  # fmt: skip
    add_shared(parser, "--weights", "--size", "--class-names", "--input", "--device", "--score")
    parser.add_argument("--classes", action="append", metavar="A,B", help="detect only these classes")
    add_shared(parser, "--half", "--recursive")
    parser.add_argument("--max-boxes", type=int, default=100, metavar="N",
                        help="most detections per image, those with the highest scores (default 100)")  # fmt: skip
    add_shared(parser, "--batch")
    parser.add_argument("--track", action="store_true",
                        help="follow the objects through videos and cameras: each keeps an id from frame to frame "
                        "(ByteTrack; needs the package trackers)")  # fmt: skip
    parser.add_argument("--stream", action="store_true",
                        help="print one line of JSON per image to standard output as soon as it is known, instead of "
                        "pictures and detections.json")  # fmt: skip
    add_shared(parser, "--hide-labels")
    parser.add_argument("--no-pictures", action="store_true",
                        help="draw nothing; detections.json and --save are written")  # fmt: skip
    parser.add_argument("--save", nargs="+", action="extend", choices=SAVE_FORMATS, default=[], metavar="FORMAT",
                        help=f"also write the detections as {', '.join(SAVE_FORMATS)} (several: after the PATHs)"
                        )  # fmt: skip
    add_shared(parser, "--tta", "--tile")
    parser.add_argument("--crops", action="store_true", help="also write each object as a picture: crops/CLASS/...")
    parser.add_argument("--out", type=as_path, default=Path("outputs/infer"),
                        help="folder for the pictures (same subfolders as the photos) and detections.json "
                        "(default outputs/infer)")  # fmt: skip


def _add_label(commands: argparse._SubParsersAction) -> None:
    text = "Choose the photos to label next: those the detector is least sure of, with boxes already drawn."
    parser = new_command(commands, "label", text)
    parser.add_argument("photos", nargs="+", metavar="PHOTOS", help="image, folder or glob pattern")
    add_shared(parser, "--weights", "--size", "--class-names", "--input", "--device")
    parser.add_argument("--format", choices=LABEL_FORMATS, required=True,
                        help="label format to write; --data reads it back")  # fmt: skip
    parser.add_argument("--out", type=as_path, required=True,
                        help="new folder for the labels, copies of their photos, and ranking.csv with how unsure the "
                        "detector is of every photo: the sum over its detections of how close the score is to the "
                        "threshold of the class, 1 at the threshold and 0 at the scores 0 and 1")  # fmt: skip
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="most photos to choose (default 50)")
    parser.add_argument("--skip", type=as_path, metavar="DATA",
                        help="leave out the photos of this data set, which are labeled already")  # fmt: skip
    add_shared(parser, "--score", "--recursive", "--batch", "--tile")


def _add_export(commands: argparse._SubParsersAction) -> None:
    text = "Write a detector as a file for other programs, and compare it with the network on real images."
    parser = new_command(commands, "export", text)
    parser.add_argument("weights", metavar="WEIGHTS",
                        help="checkpoint, published name, or folder of a run (last.pth)")  # fmt: skip
    parser.add_argument("--format", nargs="+", action="extend", choices=EXPORT_FORMATS,
                        help="one or several formats (default onnx)")  # fmt: skip
    parser.add_argument("--out", type=as_path, help="folder for the files (default: that of the weights; "
                        "of downloaded ones the current folder)")  # fmt: skip
    parser.add_argument("--data", type=as_path, metavar="PATH",
                        help="data set to compare on, in any known format (default: the run's validation "
                        "images)")  # fmt: skip
    parser.add_argument("--images", type=as_path, help="folder of images to compare on, without AP; or the one of "
                        "--data")  # fmt: skip
    add_shared(parser, "--split")
    parser.add_argument("--check-images", type=int, default=100, metavar="N",
                        help="images to compare on, at most (default 100)")  # fmt: skip
    parser.add_argument("--nms", action="store_true", help="put NMS into the file: its outputs are the detections")
    parser.add_argument("--nms-score", type=float, default=0.001, help="score threshold of --nms (default 0.001)")
    parser.add_argument("--nms-iou", type=float, help="overlap threshold of --nms (default: that of the training)")
    parser.add_argument("--half", action="store_true", help="16-bit floats: half the size")
    parser.add_argument("--fixed", type=int, nargs="?", const=1, metavar="BATCH",
                        help="fix the batch size (1 without a number) and the input size; default: any batch, and "
                        "sides that are multiples of 32")  # fmt: skip
    parser.add_argument("--int8", action="store_true",
                        help="also write files of 8-bit integers, calibrated on training images")  # fmt: skip
    parser.add_argument("--max-drop", type=float, default=0.015, metavar="AP",
                        help="largest drop in AP accepted for --int8 (default 0.015)")  # fmt: skip
    parser.add_argument("--calibrate", type=as_path, metavar="FOLDER",
                        help="images for --int8 (default: the training images of the run or of --data)")  # fmt: skip
    add_shared(parser, "--size", "--class-names", "--input")


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    parser = new_command(commands, "benchmark", "Measure how long detection takes, part by part.")
    parser.add_argument("weights", nargs="+", metavar="WEIGHTS",
                        help="checkpoints, published names and exported files (.onnx, .xml), measured in turns; the "
                        "first checkpoint also in plain torch")  # fmt: skip
    parser.add_argument("--input", type=int, nargs="+", action="extend", metavar="SIDE",
                        help="sides of the square input in pixels (default: each file's)")  # fmt: skip
    parser.add_argument("--batch", type=int, nargs="+", action="extend", help="batch sizes (default 1)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads per model (default 2)")
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds, after 3 to warm up (default 30)")
    parser.add_argument("--image", type=as_path, help="image file (default: a generated scene)")
    parser.add_argument("--no-plain", action="store_true", help="leave plain torch out")
    parser.add_argument("--json", type=as_path, help="write all numbers as JSON")


def _add_visualize(commands: argparse._SubParsersAction) -> None:
    text = "Look inside the network: feature maps, or Box AM (activation maps of detected boxes)."
    parser = new_command(commands, "visualize", text)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="photo, folder or glob pattern")
    add_shared(parser, "--weights", "--size", "--class-names", "--input", "--device")
    parser.add_argument("--layer", dest="layers", action="append", metavar="NAME",
                        help="module path such as backbone, neck or neck.out_convs[0]; may be repeated (default "
                        "neck; with --method the three neck.out_convs, from which all boxes come; with ablationcam "
                        "the one of them that most boxes come from)")  # fmt: skip
    parser.add_argument("--list-layers", action="store_true", help="print the names of all layers and stop")
    parser.add_argument("--reduction", choices=REDUCTIONS,
                        help="how a feature map's channels become one picture (default squeeze_mean)")  # fmt: skip
    parser.add_argument("--topk", type=int, help="channels of each map with --reduction topk (default 4)")
    parser.add_argument("--method", choices=BOX_AM_METHODS,
                        help="draw Box AM with this method instead of feature maps. gradcam and gradcam++ show which "
                        "places of the layer the boxes depend on. eigencam explains no detection: it shows what "
                        "varies most in the layer. ablationcam (slow) sets one channel after another far below its "
                        "values: it shows the channels that matter to all boxes together, not to a single one"
                        )  # fmt: skip
    parser.add_argument("--target", choices=("loss", "score"),
                        help="what gradcam and gradcam++ explain: the class scores of the boxes (default, more "
                        "stable) or the box loss (as in mmyolo)")  # fmt: skip
    parser.add_argument("--norm-in-box", action="store_true", help="normalize Box AM within each box")
    add_shared(parser, "--score")
    parser.add_argument("--classes", action="append", metavar="A,B", help="only the boxes of these classes")
    add_shared(parser, "--hide-labels", "--recursive")
    parser.add_argument("--out", type=as_path, default=Path("outputs/visualize"),
                        help="folder for the pictures (default outputs/visualize)")  # fmt: skip


def _add_plot(commands: argparse._SubParsersAction) -> None:
    parser = new_command(commands, "plot", "Draw the curves of one or more training runs in one picture.")
    parser.add_argument("runs", nargs="+", type=as_path, metavar="RUN", help="folder of a run, or its log.jsonl")
    parser.add_argument("--out", type=as_path, default=Path("outputs/plot.png"),
                        help="picture to write, .png, .pdf or .svg (default outputs/plot.png)")  # fmt: skip


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = new_command(commands, "info", "Print what a weights file holds, or a table of the model sizes.")
    parser.add_argument("weights", nargs="?", metavar="WEIGHTS",
                        help="checkpoint, folder of a run (its last.pth) or published name")  # fmt: skip
    parser.add_argument("--input", type=int, help="side of the square input of the table (default 640)")
