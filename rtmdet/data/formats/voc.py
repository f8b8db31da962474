"""Pascal VOC: Annotations/*.xml, JPEGImages/ and ImageSets/Main/SPLIT.txt, read and written.

Format: "The PASCAL Visual Object Classes Challenge 2012 Development Kit". Frame: VOC counts pixels from 1; xmax and
ymax are the last pixels inside. So a box in continuous pixels is xmin - 1, ymin - 1, xmax, ymax, and a box from 1 to
W is as wide as the image. Not written with hotcoco, which drops the folders of the images and writes no lists.
"""

import math
import os
import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, sorted_paths
from rtmdet.core.whole_file import read_text
from rtmdet.core.wording import shortened, shown
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage, by_image
from rtmdet.data.coco.usable import Unusable
from rtmdet.data.formats import label_files
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.labeled_image import LabeledImage, LabeledObject, assemble, choose_category_ids
from rtmdet.data.formats.outlines import Outline, rotated_box
from rtmdet.data.formats.splits import FoundSplits, Split, convert_folders
from rtmdet.data.formats.xml_file import parse_number, read_xml, root_tag, xml_text
from rtmdet.data.split_names import SPLIT_WORDS, group_files, joined_remark, usual_split
from rtmdet.images.reading import IMAGE_SUFFIXES

LISTS = Path("ImageSets", "Main")  # in the folder of each year, such as VOC2007 and VOC2012; some leave out Main/


def find_voc(path: Path, images: Path | None) -> FoundSplits | None:
    """The splits of Pascal VOC, from the lists of all years, or from its folders; None without XML files."""
    labels = label_files.label_folder(path, ".xml")
    files = files_below(labels, (".xml",))
    if not any(root_tag(file) in ("annotation", None) for file in files):  # a damaged one is named when it is read
        return None
    lists = _join_years(path, files)
    if not lists:
        found = convert_folders(partial(convert_voc, images=images), labels, _folders(files))
        others = chain.from_iterable(label_files.image_lists(_home(path), (".xml", *IMAGE_SUFFIXES)).values())
        if unused := shortened((file.name for file in others), 3):
            text = f"{path}: lists not used: {unused}; put them into {LISTS}/, a name per line"
            found = replace(found, remarks=[*found.remarks, text])
        return found
    years = {_year(file) for found in lists.values() for file in found}
    root = Path(os.path.commonpath([*years, *(file.parent for file in files)]))
    lost = _find_unlisted(files, chain.from_iterable(lists.values()))
    text = f"{len(lost)} XML files in no list of {LISTS.parent}, such as {lost[0]}: not used" if lost else ""
    converts = {name: partial(convert_voc, root, images, lists=found) for name, found in lists.items()}
    return FoundSplits(converts, [text] if text else [])


def convert_voc(
    annotations: Path,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    *,
    split: str | None = None,
    lists: Sequence[Path] = (),
    folders: Collection[Path] | None = None,
) -> Split:
    """Convert a folder of VOC XML files, or a folder with Annotations/.

    An image has the name of its XML file, else the name in <filename>; it is in `images`, by default JPEGImages/
    beside Annotations/, images/ beside annotations/ or similar, else in the folder itself. `split` selects the images
    in ImageSets/Main/SPLIT.txt, `lists` those in some such files, `folders` those with an XML file directly in one of
    them; by default all with an XML file. Other XML files are skipped and counted. Classes are `names`, else those of
    all XML files, sorted, so that all splits have the same ids. A <robndbox> gets an axis-aligned box, and its
    corners as outline. Objects marked difficult become crowd regions: ignored in evaluation, as in VOC's own, and not
    used for training.

    Raises InputError for a folder, list, XML file, object or image that cannot be used.
    """
    if annotations.is_file():
        raise InputError(f"{annotations}: expected a folder of VOC's XML files, found one file; give its folder")
    if split is not None:
        lists = find_lists(annotations, split)
    folder = label_files.label_folder(annotations, ".xml")
    roots = label_files.read_all(folder, ".xml", read_xml, folders)
    files = {path: root for path, root in roots.items() if root is not None and root.tag == "annotation"}
    if not files:
        raise InputError(f"{folder}: expected VOC label files (<annotation> in *.xml), found none; check the path")
    images = images or label_files.image_folder(folder)
    file_names = label_files.images_by_name(images)
    everything = {}
    for path, root in files.items():
        with one_entry():
            inside = (root.findtext("filename") or "").strip()
            everything[path] = _read_image(path, root, label_files.find_image(path, folder, inside, file_names))
    classes = choose_category_ids(list(everything.values()), names)
    others = sum(root is not None for root in roots.values()) - len(files)
    chosen = [] if lists else list(everything.values())
    usable = {path: everything.get(path) for path, root in roots.items() if root is None or path in files}
    for file in lists:
        own = label_files.label_folder(_year(file), ".xml")
        stems = {
            label_files.without_suffix(path, own): image for path, image in usable.items() if own in path.parents
        }
        chosen += [image for stem in _read_list(file, own, stems) if (image := stems[stem]) is not None]
    difficult = sum(found.crowd for image in chosen for found in image.objects)
    remarks = {
        f"difficult objects: {difficult}, treated as crowd regions (not used for training)": difficult,
        f"skipped: {others} x XML file of another kind": others,
    }
    told = [text for text, count in remarks.items() if count]
    if not lists and folders is None:
        told += joined_remark(
            annotations, _join_years(annotations, [*files]) or group_files(folder, _folders(files))[0]
        )
    return assemble(folder, chosen, images, classes, told)


def _read_image(path: Path, root: Element, file_name: str) -> LabeledImage:
    objects = []
    for number, element in enumerate(root.findall("object"), start=1):
        with one_entry():
            objects.append(_read_object(f"{path}: object {number}", element))
    return LabeledImage(path, file_name, objects, _size(path, root))


def _size(path: Path, root: Element) -> tuple[int, int] | None:
    """(H, W) in the file; None if it is missing or 0, as some tools write it."""
    size = root.find("size")
    if size is None:
        return None
    height, width = (int(_number(f"{path}: <size>", size, key)) for key in ("height", "width"))
    return (height, width) if height or width else None


def _read_object(where: str, element: Element) -> LabeledObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise InputError(f"{where}: expected a class under <name>, found none; add it")
    difficult = (element.findtext("difficult") or "").strip() == "1"
    if (rotated := element.find("robndbox")) is not None:
        return LabeledObject(where, name, _rotated_outline(where, rotated), difficult)
    box = element.find("bndbox")
    if box is None:
        old = element.find("polygon") is not None
        advice = "found a polygon of LabelMe's old XML: export as COCO" if old else "found none; draw the box again"
        raise InputError(f"{where}: expected a <bndbox>, {advice}")
    left, top, right, bottom = (_number(where, box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    if right < left or bottom < top:
        raise InputError(
            f"{where}: expected xmin <= xmax and ymin <= ymax, found {left:g}, {top:g}, {right:g}, {bottom:g}; "
            "correct the box"
        )
    return LabeledObject(where, name, (None, (left - 1, top - 1, right, bottom)), difficult)


def _rotated_outline(where: str, box: Element) -> Outline:
    """The outline of roLabelImg's <robndbox>: center, size, and the angle in radians from x to y."""
    x, y, width, height, angle = (_number(where, box, key) for key in ("cx", "cy", "w", "h", "angle"))
    if width < 0 or height < 0:
        raise InputError(f"{where}: expected <w> and <h> of at least 0, found {width:g}, {height:g}; correct the box")
    return rotated_box(x, y, width, height, angle=angle)


def _number(where: str, element: Element, key: str) -> float:
    text = element.findtext(key)
    number = parse_number(text)
    if number is None:
        raise InputError(f"{where}: expected a finite number for <{key}>, found {shown(text)}; correct it")
    return number


def find_lists(path: Path, split: str) -> list[Path]:
    """The image lists of one name, one of each year. Raises InputError if there is none."""
    known = _list_files(path)
    chosen: dict[Path, Path] = {}  # one of a folder, with this name or else another word for it
    for file in sorted(known, key=lambda file: file.stem != split):
        if usual_split(file.stem) == usual_split(split):
            chosen.setdefault(file.parent, file)
    if chosen:
        return [chosen[folder] for folder in sorted_paths(chosen)]
    have = ", ".join(sorted({file.stem for file in known})) or "no lists"
    raise InputError(f"{path}: expected the image list {LISTS / split}.txt, found {have}; choose another split")


def _join_years(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The image lists of train, val and test, one of each year that holds some of the XML `files`."""
    years: dict[Path, dict[str, Path]] = {}
    for file in _list_files(path):
        if file.parent in years or any(
            label_files.label_folder(_year(file), ".xml") in xml_file.parents for xml_file in files
        ):
            years.setdefault(file.parent, {})[file.stem.lower()] = file
    joined: dict[str, list[Path]] = {}
    for lists in years.values():
        named = {SPLIT_WORDS[word]: file for word, file in lists.items() if word in SPLIT_WORDS}
        if "train" not in named and "trainval" in lists:  # which the validation images belong to
            named = {"train": lists["trainval"]} | {name: file for name, file in named.items() if name == "test"}
        for name, file in named.items():
            joined.setdefault(name, []).append(file)
    return joined


def _list_files(path: Path) -> list[Path]:
    """The image lists at any depth; for a folder of XML files also those beside it."""
    near = (files_below(_home(path) / lists, (".txt",), levels=0) for lists in (LISTS, LISTS.parent))
    deep = (
        [file for file in files_below(path, (".txt",)) if file.parent.match(str(lists))]
        for lists in (LISTS, LISTS.parent)
    )
    return next(filter(None, chain(near, deep)), [])


def _folders(files: Iterable[Path]) -> set[Path]:
    return {file.parent for file in files}


def _home(path: Path) -> Path:
    """The folder of a year: the path, or that above it for a folder of XML files."""
    return path.parent if path.name.lower() in label_files.LABEL_FOLDERS else path


def _year(file: Path) -> Path:
    """The folder of the year that an image list belongs to."""
    return file.parents[2 if file.parent.name == LISTS.name else 1]


def _find_unlisted(files: Iterable[Path], lists: Iterable[Path]) -> list[Path]:
    """The XML files that are in none of the lists."""
    named: set[Path] = set()
    for file in lists:
        folder = label_files.label_folder(_year(file), ".xml")
        lines = read_text(file, "list of images").splitlines()
        named |= {folder / stem for line in lines for stem in _possible_stems(line)}
    return [file for file in files if file.with_suffix("") not in named]


def _read_list(path: Path, folder: Path, files: Container[str]) -> list[str]:
    """The image names of a split. Raises InputError if one has no XML file in the folder."""
    lines = [line for line in read_text(path, "list of images").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: expected one image name per line, found none; fill the list")
    stems = [next((stem for stem in _possible_stems(line) if stem in files), line.strip()) for line in lines]
    unknown = [stem for stem in stems if stem not in files]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} images have no XML file in {folder}, {shown(unknown[0])} first; add it"
        )
    return list(dict.fromkeys(stems))


def _possible_stems(line: str) -> Iterator[str]:
    """The names that a line of a list may mean: without spaces, an image's suffix, the mark of a class (-1, 0, 1)."""
    for name in (line, line.strip(), re.sub(r"\s+(-1|0|1)$", "", line.strip())):
        yield name
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
            yield PurePosixPath(name).with_suffix("").as_posix()


def write_voc(file: CocoFile, images: Path, out: Path, split: str) -> list[str]:
    """Write one split of a VOC data set into the folder `out` and copy its images; returns remarks, a line each.

    Boxes are clipped to the image, those under 1 pixel skipped, as whole pixels would make them usable; crowd regions
    become difficult objects, which VOC's evaluation ignores, too.

    Raises InputError if the split, an XML file or another image of the same name exists already, and for images that
    differ only in their suffix: they would share an XML file.
    """
    stems = label_files.label_names(file)
    taken = [path for path in (out / LISTS / f"{split}.txt", *(_path(out, stem) for stem in stems)) if path.exists()]
    if taken:
        raise InputError(f"{taken[0]} exists already; give another --out or --split")
    label_files.check_copies(images, file, out / "JPEGImages")
    names = {category["id"]: category["name"] for category in file["categories"]}
    objects = [annotation for annotation in file["annotations"] if min(annotation["bbox"][2:]) >= 1]
    annotations_of = by_image(objects)
    for image, stem in zip(file["images"], stems, strict=True):
        _path(out, stem).parent.mkdir(parents=True, exist_ok=True)
        _path(out, stem).write_bytes(voc_document(image, annotations_of[image["id"]], names))
        label_files.copy_image(images, image["file_name"], out / "JPEGImages")
    (out / LISTS).mkdir(parents=True, exist_ok=True)
    (out / LISTS / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    crowds = sum(annotation["iscrowd"] for annotation in objects)
    remarks = [f"crowd regions and objects marked 'ignore': {crowds}, written as difficult"] if crowds else []
    if small := len(file["annotations"]) - len(objects):
        remarks.append(f"skipped: {small} x box {Unusable.TOO_SMALL}")
    return remarks + label_files.outlines_remark(file)


def voc_document(image: CocoImage, annotations: Sequence[CocoAnnotation], names: Mapping[int, str]) -> bytes:
    """The XML of one image; `names` are those of the category ids."""
    root = Element("annotation")
    _add(root, {"folder": "JPEGImages", "filename": image["file_name"].replace("\\", "/")})
    _add(SubElement(root, "size"), {"width": image["width"], "height": image["height"], "depth": 3})
    _add(root, {"segmented": 0})
    for annotation in annotations:
        found = SubElement(root, "object")
        name, difficult = names[annotation["category_id"]], annotation["iscrowd"]
        _add(found, {"name": name, "pose": "Unspecified", "truncated": 0, "difficult": difficult})
        x, y, width, height = annotation["bbox"]
        left, right = _pixels(x, width, image["width"])
        top, bottom = _pixels(y, height, image["height"])
        _add(SubElement(found, "bndbox"), {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom})
    indent(root)
    return tostring(root, encoding="utf-8")


def _path(out: Path, stem: str) -> Path:
    return out / "Annotations" / f"{stem}.xml"


def _add(parent: Element, texts: Mapping[str, object]) -> None:
    for tag, text in texts.items():
        SubElement(parent, tag).text = xml_text(str(text))


def _pixels(start: float, length: float, size: int) -> tuple[int, int]:
    """The first and the last pixel of a side, in 1 .. size; at least one pixel."""
    # Not round, which takes 10.5 for 10 but 11.5 for 12.
    first = min(max(math.floor(start + 0.5), 0), size - 1) + 1
    return first, max(min(math.floor(start + length + 0.5), size), first)
