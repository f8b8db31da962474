"""Names and contents of what is drawn: a picture per image, a video per video, and crops of the objects."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtmdet.core.draw import LARGEST_JPEG, save_image
from rtmdet.core.errors import InputError
from rtmdet.core.file_lock import lock_file, unlock_file
from rtmdet.core.json_file import read_json
from rtmdet.core.paths import comparable, storable_name
from rtmdet.core.picture_source import free_path, untaken_path
from rtmdet.core.whole_file import writing
from rtmdet.stream.frames import Frame, Source
from rtmdet.stream.video import comment_of

DOCUMENT = "detections.json"
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where the results of a source go."""

    picture: Path  # its drawn picture or video
    # of a picture in label files: its relative path, with the number of the stem where several have it
    file_name: str
    stem: Path  # name of its other files, relative to the output folder, without suffix: no other source has it

    def of_frame(self, frame: Frame) -> Path:
        """The stem for one picture of the source."""
        return self.stem if frame.index is None else self.stem / f"{frame.index:06d}"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Create a folder and keep other detections out of it; it is removed in the end if it was new and is empty.

    Raises InputError if others are going on there.
    """
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    with writing(folder, "folder", "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
        file = lock_file(folder / LOCK)
    if file is None:
        raise InputError(f"{folder}: another program writes detections there: wait for it, or choose another --out")
    try:
        yield
    finally:
        unlock_file(folder / LOCK, file)
        with suppress(OSError):  # it holds something
            for path in new_folders:
                path.rmdir()


def choose_output_paths(sources: Sequence[Source], folder: Path, *, drawn: bool = True) -> list[OutputPaths]:
    """The paths for each source: in its subfolder, with a number if the name is taken.

    Raises InputError if a picture, where they are `drawn`, would replace a photo.
    """
    photos = {Path(source.name).resolve() for source in sources}
    sharing = Counter(source.relative_path for source in sources)
    names = {comparable(path.as_posix()) for path, count in sharing.items() if count == 1}
    wanted = [folder / path for path in _wanted_paths(sources)]
    wanting = Counter(comparable(str(path)) for path in wanted)
    taken: set[str] = set()
    chosen: dict[int, OutputPaths] = {}
    # First those whose name no other wants, so that none gets a number that another has in its own name.
    for number in sorted(range(len(sources)), key=lambda index: wanting[comparable(str(wanted[index]))] > 1):
        source, path = sources[number], wanted[number]
        if not drawn:
            picture = untaken_path(path, taken)
        elif path.resolve() in photos:
            what = "video" if source.moving else "photo"
            raise InputError(f"--out {folder}: {path.name} would replace the {what} itself: choose another folder")
        else:
            picture = free_path(path, Path(source.name), taken, read_mark=comment_of if source.moving else None)
        stem, name = picture.relative_to(folder).with_suffix(""), source.relative_path
        if sharing[source.relative_path] > 1:
            name = untaken_path(stem.with_name(f"{stem.name}{source.relative_path.suffix}"), names)
        chosen[number] = OutputPaths(picture, name.as_posix(), stem)
    return [chosen[number] for number in range(len(sources))]


def drawn_pictures(folder: Path) -> set[str]:
    """The pictures that the document in a folder names, and that are there; none without a document."""
    content: object = None
    with suppress(InputError):
        content = read_json(folder / DOCUMENT)
    entries = content.get("images") if isinstance(content, dict) else None
    named = (entry.get("picture") for entry in entries or () if isinstance(entry, dict))
    return {name for name in named if isinstance(name, str) and (folder / name).is_file()}


def _wanted_paths(sources: Sequence[Source]) -> Iterator[Path]:
    """The drawn picture of each source, below the output folder."""
    folders = {parent for source in sources if not source.moving for parent in source.relative_path.parents}
    for source in sources:
        path = source.relative_path
        if source.moving and path.with_suffix("") in folders:  # its frames have a folder of their own
            path = path.with_stem(f"{path.stem}_video")
        yield path.with_suffix(".mp4" if source.moving else ".jpg")


def check_jpeg_size(name: str, picture: np.ndarray) -> None:
    """Raise InputError for the drawn picture of a source that is too large for its format."""
    height, width = picture.shape[:2]
    if max(height, width) > LARGEST_JPEG:
        raise InputError(f"{name}: not drawn, {width} x {height} pixels are too many for a .jpg; its boxes are found")


def crop_folders(classes: Sequence[str]) -> dict[str, Path]:
    """The folder of the crops of each class: names that file systems take for one get numbers."""
    taken = set[str]()
    return {name: untaken_path(Path(storable_name(name)), taken) for name in classes}


def save_crops(folder: Path, stem: Path, pixels: np.ndarray, objects: Sequence[tuple[Path, Sequence[float]]]) -> None:
    """Write each object, the folder of its class and its box xyxy, as folder/CLASS/STEM_NUMBER.jpg, by falling score.

    No two pictures have the same stem, which may have folders of its own.

    `pixels` is the picture, (H, W, 3). A box covers at least one pixel. Raises InputError if one cannot be written.
    """
    height, width = pixels.shape[:2]
    for number, (class_folder, box) in enumerate(objects, start=1):
        left, top = min(int(box[0]), width - 1), min(int(box[1]), height - 1)
        right, bottom = max(int(np.ceil(box[2])), left + 1), max(int(np.ceil(box[3])), top + 1)
        crop = np.ascontiguousarray(pixels[top:bottom, left:right])
        save_image(folder / class_folder / stem.with_name(f"{stem.name}_{number}.jpg"), crop)
