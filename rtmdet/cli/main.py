"""The command line's grammar: parses argv without heavy imports, then calls the command's module.

`rtmdet COMMAND ...` and the scripts train.py, infer.py and visualize.py all enter here.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rtmdet import __version__

BOX_AM_METHODS = ("gradcam", "gradcam++", "eigencam", "ablationcam")
EVALUATION_BACKENDS = ("pycocotools", "hotcoco")
REDUCTIONS = ("squeeze_mean", "select_max", "topk")
COMMANDS = ("train", "check", "evaluate", "compare", "infer", "visualize", "plot", "data", "info")
OTHER_WORDS = {  # what other programs call the commands
    **dict.fromkeys(("predict", "detect", "inference"), "infer"),
    **dict.fromkeys(("val", "validate", "eval", "test"), "evaluate"),
    **dict.fromkeys(("fit", "finetune", "fine-tune"), "train"),
    **dict.fromkeys(("cam", "boxam", "explain"), "visualize"),
    **dict.fromkeys(("convert", "dataset", "split", "merge"), "data"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 done with something to look at, 2 unusable input."""
    began = time.monotonic()
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if not words:
        parser.print_help()
        return 0
    if (unknown := _unknown_command(words[0])) is not None:
        _print_error(unknown)
        return 2
    arguments = parser.parse_args(words)
    arguments.began = began  # what --minutes counts from
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a busy neighbour costs 8 x otherwise; before torch
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    command = importlib.import_module(arguments.module)
    from rtmdet.core.errors import InputError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name in a file may be no text the terminal can show
    try:
        with _ended_by_sigterm():
            return command.run(arguments)
    except InputError as error:
        _print_error(str(error))
        return 2
    except BrokenPipeError:  # the reader of the output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        _print_error(f"{error.filename}: {error.strerror}: check the path")
        return 2
    except _Terminated:
        print("stopped by SIGTERM", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


class _Terminated(BaseException):
    """SIGTERM, which ends a command as Ctrl-C does: what it holds open is closed, temporary files are removed."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python takes signals nowhere else
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _unknown_command(word: str) -> str | None:
    """What to tell about a first word that is neither a command nor an option; None for one that is."""
    if word in COMMANDS or word.startswith("-"):
        return None
    near = difflib.get_close_matches(word.lower(), [*COMMANDS, *OTHER_WORDS], n=1)
    meant = f"did you mean {OTHER_WORDS.get(near[0], near[0])}? " if near else ""
    return f"{word}: no such command: {meant}the commands are {', '.join(COMMANDS)}"


def _print_error(text: str) -> None:
    """One line, whatever names from files are in it: what would break or turn the line is shown escaped."""
    letters = (letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    print("error: " + "".join(letters), file=sys.stderr)


def _path(text: str) -> Path:
    return Path(text).expanduser()


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(prog="rtmdet", description="RTMDet in plain PyTorch.")
    parser.add_argument("--version", action="version", version=f"rtmdet {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_check(commands)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_infer(commands)
    _add_visualize(commands)
    _add_plot(commands)
    _add_data(commands)
    _add_info(commands)
    return parser


def _command(commands: argparse._SubParsersAction, name: str, text: str, module: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(module=f"rtmdet.cli.{module}")
    return parser


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "train", "Train or fine-tune a detector.", "train")
    _add_run_options(parser)
    parser.add_argument("--resume", action="store_true", help="continue from last.pth of the output folder")
    parser.add_argument("--minutes", type=float, metavar="N",
                        help="with --data: choose the epochs, and where needed a smaller input, so that the command "
                        "ends after N minutes")  # fmt: skip
    parser.add_argument("--folds", type=int, metavar="K",
                        help="with --data: K runs, each measured on another K-th of the images")  # fmt: skip


def _add_check(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "check", "Check data, classes and first loss of a run, as its start does.", "check")
    _add_run_options(parser)
    parser.add_argument("--overfit", action="store_true", help="overfit at most 8 boxes, in under two minutes")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=_path, help="YAML file, see configs/")
    what.add_argument("--data", type=_path, metavar="PATH",
                      help="your own data set, a folder or file in any known format; settings are derived from the "
                      "data and printed")  # fmt: skip
    parser.add_argument("--images", type=_path, metavar="FOLDER",
                        help="with a COCO file as --data: its images' folder (default: found beside it)")  # fmt: skip
    parser.add_argument("--weights", help="checkpoint file or published name to start from; 'none' trains from "
                        "scratch (default: the configuration's, with --data rtmdet-tiny-coco)")  # fmt: skip
    parser.add_argument("--keep-classes", action="store_true",
                        help="with --data: keep the classes of the weights, new ones follow them")  # fmt: skip
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="override one setting, e.g. --set train.epochs=10; may be repeated")  # fmt: skip


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "evaluate", "Print the 12 COCO numbers of a detector.", "evaluate")
    parser.add_argument("run_folder", nargs="?", metavar="RUN",
                        help="folder of a run: its last.pth, on its own validation images by default")  # fmt: skip
    _add_model_options(parser)
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument("--data", type=_path, metavar="PATH", help="data set, a folder or file in any known format")
    truth.add_argument("--annotations", type=_path, help="COCO JSON with the ground truth")
    parser.add_argument("--images", type=_path, help="folder of the images of a COCO file (default: found beside it)")
    parser.add_argument("--split", choices=("train", "val"), help="split of --data (default: val, else its only one)")
    parser.add_argument("--batch", type=int, default=8, help="images at a time (default 8)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default 2)")
    parser.add_argument("--backend", choices=EVALUATION_BACKENDS,
                        help="what computes the numbers; hotcoco is much faster (default: as in the training run, "
                        "else pycocotools)")  # fmt: skip
    parser.add_argument("--no-interval", action="store_true",
                        help="without the 95 %% interval of AP, which resamples the images")  # fmt: skip
    parser.add_argument("--f1", type=_path, metavar="PICTURE", help="draw F1 over the score here, a line a class")
    parser.add_argument("--out", type=_path, help="write the detections as COCO results JSON here")


def _add_compare(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "compare", "Which of two runs is better, if the images can show it.", "compare")
    what = "folder of a run, checkpoint, published name, or COCO results JSON of evaluate --out"
    parser.add_argument("run_a", metavar="RUN_A", help=what)
    parser.add_argument("run_b", metavar="RUN_B", help="the same")
    parser.add_argument("--annotations", type=_path, help="COCO JSON (default: the runs' validation data)")
    parser.add_argument("--images", type=_path, help="folder of the images (default: the runs' validation data)")
    parser.add_argument("--input", type=int, help="side of the square input in pixels (default: each run's own)")
    parser.add_argument("--batch", type=int, default=8, help="images at a time (default 8)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default 2)")
    parser.add_argument("--backend", choices=EVALUATION_BACKENDS, help="what computes (default pycocotools)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps or auto (default)")


def _add_infer(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "infer", "Detect objects in images.", "infer")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="image, folder or glob pattern")
    _add_model_options(parser)
    _add_score(parser)
    parser.add_argument("--classes", metavar="A,B", help="only detections of these classes")
    parser.add_argument("--recursive", action="store_true", help="search sub-folders, too")
    parser.add_argument("--hide-labels", action="store_true", help="draw frames without names and scores")
    parser.add_argument("--out", type=_path, default=Path("outputs/infer"),
                        help="folder for the pictures, in sub-folders as the photos, and detections.json "
                        "(default outputs/infer)")  # fmt: skip


def _add_visualize(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "visualize", "Draw feature maps or Box AM of layers.", "visualize")
    parser.add_argument("image", nargs="?", type=_path, help="image file")
    _add_model_options(parser)
    parser.add_argument("--layer", dest="layers", action="append", metavar="NAME",
                        help="module path such as backbone, neck or neck.out_convs[0]; may be repeated (default "
                        "neck, with --method the three of neck.out_convs, from which all boxes come)")  # fmt: skip
    parser.add_argument("--list-layers", action="store_true", help="print the names of all layers and stop")
    parser.add_argument("--reduction", choices=REDUCTIONS, default="squeeze_mean",
                        help="how the channels of a feature map become one picture")  # fmt: skip
    parser.add_argument("--topk", type=int, default=4, help="channels of each map with --reduction topk (default 4)")
    parser.add_argument("--method", choices=BOX_AM_METHODS,
                        help="draw Box AM by this method instead: where in the layer the boxes come from. eigencam "
                        "explains no detection: it shows what varies most in the layer. ablationcam leaves out one "
                        "channel after the other (slow): it shows the channels that all boxes together need, not "
                        "what a single box depends on")  # fmt: skip
    parser.add_argument("--target", choices=("loss", "score"), default="score",
                        help="what the gradient methods explain: the box loss, as the original, or the "
                        "boxes' class scores (steadier, the default)")  # fmt: skip
    parser.add_argument("--norm-in-box", action="store_true", help="normalise Box AM in each box alone")
    _add_score(parser)
    parser.add_argument("--out", type=_path, default=Path("outputs/visualize"), help="folder for the pictures")


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--score", type=_score, default="auto",
                        help="score threshold: a number, or auto (default): for each class the one with the best F1 "
                        "in the validation of the training run, 0.3 where that is not known")  # fmt: skip


def _score(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or auto, found {text!r}") from None


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default="rtmdet-tiny-coco", help="checkpoint path or published name")
    parser.add_argument("--size", help="model size where the checkpoint does not say it (nano tiny s m l x)")
    parser.add_argument("--class-names", metavar="A,B,C",
                        help="names for the classes, in order, where the checkpoint has none")  # fmt: skip
    parser.add_argument("--input", type=int, help="side of the square network input in pixels")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps or auto (default)")


def _add_plot(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "plot", "Compare training runs in one picture.", "plot")
    parser.add_argument("runs", nargs="+", type=_path, metavar="RUN", help="folder of a run, or its log.jsonl")
    parser.add_argument("--out", type=_path, default=Path("outputs/plot.png"),
                        help="picture to write, .png, .pdf or .svg (default outputs/plot.png)")  # fmt: skip


def _add_data(commands: argparse._SubParsersAction) -> None:
    data = commands.add_parser("data", help="Convert, look at and generate data sets.")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_data_convert(actions)
    show = _command(actions, "show", "A grid picture of images, and one of annotations.", "data_show")
    show.add_argument("data", type=_path, help="data set, a folder or file in any known format")
    show.add_argument("--images", type=_path, help="folder of the images of a COCO file (default: found beside it)")
    show.add_argument("--split", default="train", help="what to show of several splits (default train)")
    show.add_argument("--count", type=int, default=12, help="number of images (default 12)")
    show.add_argument("--out", type=_path, default=Path("outputs/data"), help="folder for the pictures")
    split = _command(actions, "split", "One data set -> train.json and val.json, alike in classes.", "data")
    split.add_argument("data", type=_path, help="data set, a folder or file in any known format")
    split.add_argument("--images", type=_path, help="folder of the images of a COCO file (default: found beside it)")
    split.add_argument("--val", type=float, default=0.2, help="share of the validation images (default 0.2)")
    split.add_argument("--seed", type=int, default=0, help="another seed gives another split (default 0)")
    split.add_argument("--out", type=_path, required=True, help="folder for train.json and val.json")
    merge = _command(actions, "merge", "Several COCO JSONs -> one; classes are joined by name.", "data")
    merge.add_argument("annotations", type=_path, nargs="+", metavar="FILE", help="COCO JSON")
    merge.add_argument("--images", type=_path, action="append", metavar="FOLDER",
                       help="folder of the images, once for each FILE (default: where they usually are)")  # fmt: skip
    merge.add_argument("--merge-similar", action="store_true",
                       help="join classes whose names differ in letter case or spaces only")  # fmt: skip
    merge.add_argument("--out", type=_path, required=True, help="COCO JSON to write")
    export = actions.add_parser("export", help="Write a COCO JSON and its images in another format.")
    targets = export.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for name, text in (("yolo", "COCO JSON -> YOLO data set."), ("voc", "COCO JSON -> Pascal VOC folders.")):
        target = _command(targets, name, text, "data")
        target.add_argument("annotations", type=_path, help="COCO JSON")
        target.add_argument("--images", type=_path, required=True, help="folder of the images, which are copied")
        target.add_argument(
            "--split", default="train", help="what the images are for: train, val, test (default train)"
        )
        target.add_argument("--out", type=_path, required=True, help="folder to write; may hold other splits already")
    _add_data_check(actions)
    scenes = _command(actions, "synthesize", "Generate photo-like balloon scenes.", "data")
    scenes.add_argument("--out", type=_path, required=True, help="folder for train/, val/ and their JSON")
    scenes.add_argument("--train", type=int, default=200, help="training images (default 200)")
    scenes.add_argument("--val", type=int, default=50, help="validation images (default 50)")
    scenes.add_argument("--size", type=int, nargs=2, default=(320, 320), metavar=("H", "W"))
    scenes.add_argument("--seed", type=int, default=0)


def _add_data_convert(actions: argparse._SubParsersAction) -> None:
    convert = actions.add_parser("convert", help="Convert annotations to COCO JSON.")
    convert.set_defaults(images=None, classes=None, split=None)  # which not every format has
    formats = convert.add_subparsers(dest="format", required=True, metavar="FORMAT")
    via = _command(formats, "via", "VGG Image Annotator region JSON -> COCO JSON.", "data")
    via.add_argument("annotations", type=_path, help="VIA region JSON")
    via.add_argument("--images", type=_path, help="folder of the images (default: where they usually are)")
    via.add_argument("--class-name", help="class of every region (default: object, where regions have no attributes)")
    via.add_argument("--class-key", help="region attribute that holds the class (default: the one that all have)")
    via.add_argument("--out", type=_path, required=True, help="COCO JSON to write")
    yolo = _command(formats, "yolo", "One split of a YOLO data set -> COCO JSON.", "data")
    yolo.add_argument(
        "annotations", type=_path, metavar="data", help="data.yaml, list of names, or the folder that holds it"
    )
    yolo.add_argument("--split", choices=("train", "val", "test"), default="train", help="which one (default train)")
    yolo.add_argument("--out", type=_path, required=True, help="COCO JSON to write")
    voc = _command(formats, "voc", "A folder of Pascal VOC XML files -> COCO JSON.", "data")
    voc.add_argument("annotations", type=_path, help="folder of the XML files, or the one that holds Annotations/")
    voc.add_argument("--split", help="only the images of ImageSets/Main/SPLIT.txt (default: all)")
    _add_labelled_images(voc)
    labelme = _command(formats, "labelme", "A folder of LabelMe JSON files -> COCO JSON.", "data")
    labelme.add_argument("annotations", type=_path, help="folder of the JSON files")
    _add_labelled_images(labelme)
    cvat = _command(formats, "cvat", "A 'CVAT for images' XML file -> COCO JSON.", "data")
    cvat.add_argument("annotations", type=_path, help="XML file")
    _add_labelled_images(cvat)


def _add_data_check(actions: argparse._SubParsersAction) -> None:
    parser = _command(
        actions, "check", "Look for faults in annotations and images, and say what helps.", "data_check"
    )
    parser.add_argument("annotations", type=_path, nargs="?", metavar="PATH",
                        help="data set as train --data takes it, or the COCO JSON of the training images "
                        "(default: what --config names)")  # fmt: skip
    parser.add_argument("--images", type=_path, help="folder of the images (default: where they usually are)")
    parser.add_argument("--val-annotations", type=_path, help="COCO JSON of the validation images")
    parser.add_argument("--val-images", type=_path, help="their folder")
    purpose = parser.add_mutually_exclusive_group()
    purpose.add_argument("--config", type=_path, help="YAML file: classes, input size and whatever concerns the data")
    purpose.add_argument("--weights", help="checkpoint or published name: compare its classes with the file's")
    parser.add_argument("--input", type=int, help="side of the square input in pixels (default: the configuration's "
                        "or the checkpoint's, else 640)")  # fmt: skip
    parser.add_argument(
        "--decode", action="store_true", help="look at the pixels too: damage and near copies (slower)"
    )
    parser.add_argument("--json", type=_path, help="write all findings with all cases here")
    parser.add_argument("--out", type=_path, help="folder for pictures of the worst cases of each finding")


def _add_labelled_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=_path, help="folder of the images (default: where the format has them)")
    parser.add_argument("--classes", help="names in the order of the ids, separated by commas (default: all, sorted)")
    parser.add_argument("--out", type=_path, required=True, help="COCO JSON to write")


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "info", "What a weights file holds, or a table of the model sizes.", "info")
    parser.add_argument("weights", nargs="?", metavar="WEIGHTS", help="checkpoint path or published name")
    parser.add_argument("--input", type=int, default=640, help="side of the square input (default 640)")


if __name__ == "__main__":
    sys.exit(main())
