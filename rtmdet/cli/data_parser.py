"""The options of the data commands: show, check, convert, split, merge, export, synthesize."""

import argparse
from pathlib import Path

from rtmdet.cli.command import as_path, new_command
from rtmdet.data.split_names import SPLITS, usual_split


def add_data(commands: argparse._SubParsersAction) -> None:
    """Add `rtmdet data` with its actions."""
    data = commands.add_parser("data", help="Convert, split, merge, check, show and generate data sets.")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_data_convert(actions)
    show = new_command(actions, "show", "Draw a grid of images, and one with their annotations.")
    show.add_argument("data", type=as_path, help="data set, a folder or file in any known format")
    show.add_argument("--images", type=as_path, help="folder of the images (default: found near the labels)")
    show.add_argument("--split", help="what to show of several splits (default: the first of train, val, test)")
    show.add_argument("--count", type=int, default=12, help="number of images (default 12)")
    show.add_argument("--out", type=as_path, default=Path("outputs/data"), help="folder for the pictures")
    split = new_command(actions, "split", "One data set -> train.json and val.json, stratified by class.")
    split.add_argument("data", type=as_path, help="data set, a folder or file in any known format")
    split.add_argument("--images", type=as_path, help="folder of the images (default: found near the labels)")
    split.add_argument("--val", type=float, default=0.2, help="fraction of the images for validation (default 0.2)")
    split.add_argument("--seed", type=int, default=0, help="seed of the split (default 0)")
    split.add_argument("--out", type=as_path, required=True, help="folder for train.json and val.json")
    merge = new_command(actions, "merge", "Several data sets -> one COCO JSON; classes are joined by name.")
    merge.add_argument("annotations", type=as_path, nargs="+", metavar="DATA",
                       help="data set, a folder or file in any known format")  # fmt: skip
    merge.add_argument("--images", type=as_path, action="append", metavar="FOLDER",
                       help="folder of the images, once per DATA (default: found near the labels)")  # fmt: skip
    merge.add_argument("--split", help="split to take of each data set: train, val, test (default: the only one)")
    merge.add_argument("--rename", action="append", metavar="OLD=NEW",
                       help="give a class another name, several may get the same (once per class)")  # fmt: skip
    merge.add_argument("--merge-similar", action="store_true",
                       help="join classes whose names differ only in letter case or spaces")  # fmt: skip
    merge.add_argument("--replace", action="store_true",
                       help="an image of several data sets gets the labels of the last one alone, such as corrected "
                       "ones (default: those of all)")  # fmt: skip
    merge.add_argument("--out", type=as_path, required=True, help="COCO JSON to write")
    export = actions.add_parser("export", help="Write a data set and its images in another format.")
    targets = export.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for name, text in (("yolo", "Any data set -> YOLO."), ("voc", "Any data set -> Pascal VOC folders.")):
        target = new_command(targets, name, text)
        target.add_argument("data", type=as_path, help="data set, a folder or file in any known format")
        target.add_argument("--images", type=as_path, help="folder of the images, which are copied (default: found)")
        target.add_argument("--split", default="train", help="name of the split: train, val, test (default train)")
        target.add_argument("--out", type=as_path, required=True, help="output folder; may already hold other splits")
    _add_data_check(actions)
    scenes = new_command(actions, "synthesize", "Generate photo-like balloon scenes.")
    scenes.add_argument("--out", type=as_path, required=True, help="folder for train/, val/ and their JSON")
    scenes.add_argument("--train", type=int, default=200, help="training images (default 200)")
    scenes.add_argument("--val", type=int, default=50, help="validation images (default 50)")
    scenes.add_argument("--size", type=int, nargs=2, default=(320, 320), metavar=("H", "W"))
    scenes.add_argument("--seed", type=int, default=0)


def _add_data_convert(actions: argparse._SubParsersAction) -> None:
    convert = actions.add_parser("convert", help="Convert annotations to COCO JSON.")
    # not every format has these
    convert.set_defaults(images=None, classes=None, split=None, class_name=None, class_key=None)
    formats = convert.add_subparsers(dest="format", required=True, metavar="FORMAT")
    via = new_command(formats, "via", "VGG Image Annotator region JSON -> COCO JSON.")
    via.add_argument("annotations", type=as_path, help="VIA region JSON")
    via.add_argument("--images", type=as_path, help="folder of the images (default: found near the file)")
    via.add_argument("--class-name", help="class of every region (default: object, if regions have no attributes)")
    via.add_argument("--class-key", help="region attribute with the class (default: the one that all have)")
    via.add_argument("--out", type=as_path, required=True, help="COCO JSON to write")
    yolo = new_command(formats, "yolo", "One split of a YOLO data set -> COCO JSON.")
    yolo.add_argument("annotations", type=as_path, metavar="data", help="data.yaml, list of names, or its folder")
    yolo.add_argument("--split", type=usual_split, choices=SPLITS, help="split to convert (default train)")
    yolo.add_argument("--out", type=as_path, required=True, help="COCO JSON to write")
    voc = new_command(formats, "voc", "A folder of Pascal VOC XML files -> COCO JSON.")
    voc.add_argument("annotations", type=as_path, help="folder of the XML files, or the one with Annotations/")
    voc.add_argument("--split", help="only the images of SPLIT.txt in ImageSets/Main/ or ImageSets/ (default: all)")
    _add_labeled_images(voc)
    labelme = new_command(formats, "labelme", "A folder of LabelMe JSON files -> COCO JSON.")
    labelme.add_argument("annotations", type=as_path, help="folder of the JSON files")
    _add_labeled_images(labelme)
    cvat = new_command(formats, "cvat", "A 'CVAT for images' XML file -> COCO JSON.")
    cvat.add_argument("annotations", type=as_path, help="XML file")
    _add_labeled_images(cvat)


def _add_data_check(actions: argparse._SubParsersAction) -> None:
    text = "Look for faults in annotations and images, and suggest repairs."
    parser = new_command(actions, "check", text)
    parser.add_argument("annotations", type=as_path, nargs="?", metavar="PATH",
                        help="data set as for train --data, or the COCO JSON of the training images (default: "
                        "that of --config)")  # fmt: skip
    parser.add_argument("--images", type=as_path, help="folder of the images (default: found near the file)")
    parser.add_argument("--val-annotations", type=as_path, help="COCO JSON of the validation images")
    parser.add_argument("--val-images", type=as_path, help="their folder")
    purpose = parser.add_mutually_exclusive_group()
    purpose.add_argument("--config", type=as_path, help="YAML file with classes, input size and data settings")
    purpose.add_argument("--weights", help="checkpoint or published name, whose classes are compared with the data's")
    parser.add_argument("--input", type=int, help="side of the square input in pixels (default: the configuration's "
                        "or the checkpoint's, else 640)")  # fmt: skip
    parser.add_argument("--decode", action="store_true", help="also decode: finds damage and near copies (slower)")
    parser.add_argument("--json", type=as_path, help="write all findings with all cases as JSON")
    parser.add_argument("--out", type=as_path, help="folder for pictures of the worst cases")


def _add_labeled_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=as_path, help="folder of the images (default: where the format keeps them)")
    parser.add_argument("--classes", help="class names in the order of the ids: A,B,C (default: all, sorted)")
    parser.add_argument("--out", type=as_path, required=True, help="COCO JSON to write")
