"""Whether the data of a resumed run has changed: the run continues with the copies in its own folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoFile, read_coco
from rtmdet.data.formats.open import open_dataset
from rtmdet.data.image_names import place_images

Objects = dict[str, Counter[tuple[object, ...]]]  # file name -> (class, box) -> how often


def report_changes(path: Path, images: Path | None, folder: Path) -> None:
    """Print how the data set at `path` differs from the copies in `folder`, which a resumed run uses."""
    copies = {name: folder / f"{name}.json" for name in ("train", "val") if (folder / f"{name}.json").is_file()}
    if not copies:
        return  # the run reads the original files
    try:
        splits = open_dataset(path, images).splits
        for split in splits.values():
            if split.annotations is not None:
                place_images(split.annotations, split.coco, split.images)
    except InputError as error:
        say(f"data: the run continues with its own copies; the data set can no longer be read ({error})")
        return
    begun = _objects(read_coco(copy) for copy in copies.values())
    now = _objects(split.coco for name, split in splits.items() if name in copies)
    if changes := _changes(begun, now):
        say(
            f"data: {path} has changed since the run started: {changes}; the run continues with the data it started "
            "with: to use the new data, start another run with --set train.output=..."
        )


def _objects(files: Iterable[CocoFile]) -> Objects:
    found: Objects = {}
    for file in files:
        names = {category["id"]: category["name"] for category in file["categories"]}
        images = {image["id"]: found.setdefault(image["file_name"], Counter()) for image in file["images"]}
        for entry in file["annotations"]:
            box = tuple(round(value, 2) for value in entry["bbox"])
            images[entry["image_id"]][names[entry["category_id"]], *box] += 1
    return found


def _changes(begun: Objects, now: Objects) -> str:
    """The differences as text; empty if there are none."""
    counts = {
        "new": len(now.keys() - begun.keys()),
        "gone": len(begun.keys() - now.keys()),
        "with other objects": sum(begun[name] != now[name] for name in begun.keys() & now.keys()),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f"images {', '.join(parts)}" if parts else ""
