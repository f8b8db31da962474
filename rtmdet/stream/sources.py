"""From the words of a command to sources: image files, folders, glob patterns, addresses, videos and cameras.

Cameras of this machine, by number, are read with OpenCV.
"""

import glob
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, sorted_paths, spread
from rtmdet.core.paths import is_address, user_path
from rtmdet.core.pictures import ValueRange
from rtmdet.images.depth import LOOKED_AT, depth_remarks
from rtmdet.images.reading import HEIC_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, read_image_bytes
from rtmdet.stream.addresses import ImageAddress
from rtmdet.stream.frames import Frame, Source, encoded_frame
from rtmdet.stream.video import STREAM_SCHEMES, Video, is_video, load_pyav


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image file; `folder` is its subfolder below a folder that was searched."""

    path: Path
    folder: Path = Path()
    value_range: ValueRange | None = None  # of 16-bit images, see read_image
    live: bool = False
    moving: bool = False

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def relative_path(self) -> Path:
        """Its name, in its subfolder."""
        return self.folder / self.path.name

    def count(self) -> int:
        return 1

    def frames(self) -> Iterator[Frame]:
        """The image. Raises InputError if its file or header cannot be read."""
        yield encoded_frame(self, read_image_bytes(self.path), self.value_range)


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera, which ends only when it is unplugged or the program is stopped."""

    number: int
    live: bool = True
    moving: bool = True

    @property
    def name(self) -> str:
        return f"camera {self.number}"

    @property
    def relative_path(self) -> Path:
        return Path(f"camera_{self.number}")

    def count(self) -> None:
        """Unknown."""

    def frames(self) -> Iterator[Frame]:
        """The frames as they come. Raises InputError if the camera is not there, or gives no frame any more."""
        capture = cv2.VideoCapture(self.number)
        try:
            if not capture.isOpened():
                raise InputError(f"{self.name}: no such camera, or another program uses it; check the number")
            rate = Fraction(max(capture.get(cv2.CAP_PROP_FPS), 0)).limit_denominator(1001) or None  # -1: unknown
            began, index = time.monotonic(), 0
            while True:
                done, image = capture.read()
                if not done:
                    raise InputError(f"{self.name}: no more frames after {index}; check its cable")
                read = partial(cv2.cvtColor, image, cv2.COLOR_BGR2RGB)
                yield Frame(self, read, index, time.monotonic() - began, rate)
                index += 1
        finally:
            capture.release()


@dataclass(frozen=True, slots=True)
class Found:
    """The sources, and lines about what was left out, and about 16-bit photos."""

    sources: list[Source] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def find_sources(words: Sequence[str], *, recursive: bool = False, skip: Path | None = None) -> Found:
    """The sources that the words name, each file once, sorted within each word.

    Files below `skip`, the output folder, are left out of a folder or pattern unless the word names that folder
    itself, or one in it. Raises InputError for a word that names nothing.
    """
    if not words:
        raise InputError("expected images, videos or folders, found none: give one")
    found = Found()
    seen: set[Path] = set()
    for word in words:
        if is_address(word):
            found.sources.append(_address(word))
            continue
        if word.isdecimal() and not Path(word).exists():
            found.sources.append(Camera(int(word)))
            continue
        if not word.strip():
            raise InputError("'': expected the path of an image, a video or a folder, found an empty one")
        if word == "-" and not Path(word).exists():
            remedy = "save it in a file" if sys.platform == "win32" else "for a photo from there give /dev/stdin"
            raise InputError(f"-: expected a path, found the sign for standard input: {remedy}")
        files = _files(user_path(word), recursive, skip, found.remarks)
        real = {file: file.resolve() for file in files}
        new = {file: folder for file, folder in files.items() if real[file] not in seen}
        found.sources.extend(
            Video(str(file)) if is_video(file.name) else ImageFile(file, folder) for file, folder in new.items()
        )
        seen.update(real.values())
    if any(isinstance(source, Video) for source in found.sources):
        load_pyav()  # before any work
    found.sources[:] = dict.fromkeys(found.sources)
    return found


def with_range(found: Found, value_range: ValueRange | None) -> Found:
    """The same sources, 16-bit images among them read with the range of the weights (see read_image).

    With a remark on how some of these will look (see depth_remarks).
    """
    sources = [
        replace(source, value_range=value_range) if isinstance(source, ImageFile | ImageAddress) else source
        for source in found.sources
    ]
    files = [source.path for source in found.sources if isinstance(source, ImageFile)]
    return Found(sources, [*found.remarks, *depth_remarks(spread(files, LOOKED_AT), value_range)])


def _address(word: str) -> Source:
    scheme = word.partition("://")[0].lower()
    if is_video(word):
        camera = word.partition("?")[0].lower().endswith((".mjpg", ".mjpeg"))  # pictures one after the other
        return Video(word, live=scheme in STREAM_SCHEMES or camera)
    if scheme not in ("http", "https"):
        raise InputError(f"{word}: expected an address with http, https or {', '.join(STREAM_SCHEMES)}; correct it")
    return ImageAddress(word)


def _files(path: Path, recursive: bool, skip: Path | None, remarks: list[str]) -> dict[Path, Path]:
    """The files of a path, folder or glob pattern, with their subfolders."""
    before = len(remarks)
    if path.is_dir():
        files = {file: file.parent.relative_to(path) for file in _images_in(path, recursive, skip, remarks)}
    elif path.exists():
        files = {path: Path()}
    elif not glob.has_magic(str(path)):
        raise InputError(f"{path}: there is no such file or folder: check the path")
    else:
        files = {file: Path() for file in _matching(path, skip)}
    if not files:
        below = " or below it" if recursive else ""
        what = f"no image in this folder{below}" if path.is_dir() else "no image or video matches this pattern"
        raise InputError("; ".join((f"{path}: {what}", *remarks[before:])))
    return files


def _matching(pattern: Path, skip: Path | None) -> list[Path]:
    """The images and videos of a glob pattern; folders that exist under its first parts are taken by their names."""
    begin = Path()
    rest = list(pattern.parts)
    while rest and (begin / rest[0]).exists():
        begin /= rest.pop(0)
    found = map(Path, glob.glob(str(Path(glob.escape(str(begin)), *rest)), recursive=True))
    once = {file.parent.resolve() / file.name: file for file in reversed(sorted_paths(filter(_is_picture, found)))}
    return _outside(sorted_paths(once.values()), begin, skip)


def _outside(files: Sequence[Path], folder: Path, skip: Path | None) -> list[Path]:
    """The files that were found in `folder` and are not below `skip`; all of them if `folder` itself is there."""
    if skip is None or (out := skip.resolve()) in (root := folder.resolve(), *root.parents):
        return [*files]
    return [file for file in files if out not in file.resolve().parents]


def _images_in(folder: Path, recursive: bool, skip: Path | None, remarks: list[str]) -> list[Path]:
    """The images of a folder; adds a remark about subfolders that are not searched."""
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *HEIC_SUFFIXES)
    files = files_below(folder, suffixes, levels=None if recursive else 2)
    direct = [path for path in files if path.parent == folder]
    if videos := len(_with_suffix(files if recursive else direct, VIDEO_SUFFIXES)):
        remarks.append(
            f"{videos} video{'s were' if videos > 1 else ' was'} not searched: name each, or use a pattern"
        )
    if heic := len(_with_suffix(files if recursive else direct, HEIC_SUFFIXES)):
        photos, them = ("1 HEIC photo", "it") if heic == 1 else (f"{heic} HEIC photos", "them")
        remarks.append(f"{photos} cannot be decoded here: convert {them} to JPEG")
    below = _outside([*filter(_is_picture, _with_suffix(files, IMAGE_SUFFIXES))], folder, skip)
    here = below if recursive else [path for path in below if path.parent == folder]
    if count := len({path.parent for path in below} - {path.parent for path in here} - {folder}):
        what = "1 subfolder with images was" if count == 1 else f"{count} subfolders with images were"
        text = f"{what} not searched: add --recursive to include {'it' if count == 1 else 'them'}"
        if not here:
            raise InputError(f"{folder}: no image in the folder itself: {text}")
        remarks.append(text)
    return here


def _with_suffix(files: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in suffixes]


def _is_picture(path: Path) -> bool:
    return path.is_file() and (path.suffix.lower() in IMAGE_SUFFIXES or is_video(path.name))
