"""The folder of a run, and the resolved configuration in it, which works from anywhere and after a move."""

import difflib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rtmdet.config.file import dump_config, load_config, moved, with_absolute_paths
from rtmdet.config.schema import Config
from rtmdet.core.distributed import is_main_process
from rtmdet.core.errors import InputError
from rtmdet.core.file_lock import lock_file, unlock_file
from rtmdet.core.json_file import read_json, write_json
from rtmdet.core.paths import with_own_name
from rtmdet.core.whole_file import unwritable, write_whole
from rtmdet.runs.options import CONFIG
from rtmdet.weights.checkpoint import has_checkpoint

ORIGIN = "data/origin.json"  # the data set that a run was started on
FILES = (
    CONFIG, "log.jsonl", "train.csv", "val.csv", "curves.png", "f1.png", "samples.png", "data/train.json",
    "data/val.json", "data/digests.json", ORIGIN, "warnings.txt", "epoch_*.pth",
)  # fmt: skip
LOCK = ".lock"
WAIT = 10.0  # seconds for a run that is ending


@contextmanager
def claim_folder(folder: Path, *, new: bool) -> Iterator[None]:
    """Create the run's folder and keep other runs out of it. Raises InputError if one is going on there.

    For a `new` run also if it holds one. The main process does this for all. A new folder that is empty in the end
    is removed.
    """
    if not is_main_process():
        yield
        return
    if new:
        check_unused(folder)
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    file = _lock(folder)
    try:
        if new:
            check_unused(folder)
        yield
    finally:
        unlock_file(folder / LOCK, file)
        with suppress(OSError):  # it holds the run
            for path in new_folders:
                path.rmdir()


def check_unclaimed(folder: Path) -> None:
    """Raise InputError if a run is going on in a folder, before anything is written there."""
    with claim_folder(folder, new=False):
        pass


def _lock(folder: Path) -> int:
    """Lock the folder by a file in it; returns that, open."""
    end = time.monotonic() + WAIT
    while True:
        try:
            made = False
            folder.mkdir(parents=True, exist_ok=True)
            made = True
            file = lock_file(folder / LOCK)
        except OSError as error:
            # Another process may just have removed the empty folder, or those above it.
            last = end if made else end - WAIT + 1
            if not isinstance(error, FileNotFoundError) or time.monotonic() > last:
                raise unwritable(folder, error, "folder", "choose another --output") from error
        else:
            if file is not None:
                return file
            if time.monotonic() > end:  # the workers of a killed run hold it, too, until they notice
                raise InputError(f"{folder}: another run is going on there: wait for it, or choose another --output")
        time.sleep(0.1)


def write_configuration(folder: Path, config: Config) -> None:
    """Create the run's folder and write the resolved configuration atomically."""
    write_whole(folder / CONFIG, stored_text(config).encode())


def stored_text(config: Config) -> str:
    """The configuration as YAML, with absolute paths: the run may later be used from another folder."""
    return dump_config(with_absolute_paths(config))


def holds_run(folder: Path) -> bool:
    """Whether a folder holds checkpoints of a run."""
    return has_checkpoint(folder) or (folder / "best.pth").exists()


def holds_folds(folder: Path) -> bool:
    """Whether a folder holds the runs of --folds."""
    return any(map(has_checkpoint, folder.glob("fold_*")))


def check_unused(folder: Path) -> None:
    """Raise InputError for a folder that holds a run, or the user's own files by the names of a run's."""
    if holds_run(folder):
        raise InputError(f"{folder} already holds a run: continue it with --resume, or choose another --output")
    if holds_folds(folder):
        raise InputError(f"{folder} holds the runs of --folds: choose another --output")
    found = [path for pattern in FILES for path in folder.glob(pattern)]
    if found and not _was_started(folder):
        raise InputError(
            f"{found[0]}: a run would replace this file, which no run has written: choose another --output"
        )


def origin_of(folder: Path) -> tuple[Path, Path | None] | None:
    """The data set that the run in a folder was started on by --data, and the folder given for its images."""
    content = read_json(folder / ORIGIN) if (folder / ORIGIN).exists() else None
    if not isinstance(content, dict) or not isinstance(content.get("data"), str):
        return None
    images = content.get("images")
    return Path(content["data"]), Path(images) if isinstance(images, str) else None


def keep_origin(folder: Path, data: Path, images: Path | None) -> None:
    """Write what `origin_of` reads."""
    origin = {"data": str(data.resolve()), "images": None if images is None else str(images.resolve())}
    write_json(folder / ORIGIN, origin)


def _was_started(folder: Path) -> bool:
    """Whether a folder without checkpoints is that of a run that ended before the first one."""
    try:
        if origin_of(folder) is not None:
            return True
        return stored_text(load_config(folder / CONFIG)).encode() == (folder / CONFIG).read_bytes()
    except (InputError, OSError):
        return False


def is_run(config: Path) -> bool:
    """Whether a file is the configuration in the folder of a run."""
    return config.name == CONFIG and has_checkpoint(config.parent)


def run_beside(folder: Path) -> Path | None:
    """The run beside a folder whose name is most like its own, if any."""
    folder = with_own_name(folder)
    names: list[str] = []
    with suppress(OSError):  # there is no such place, or it cannot be listed
        names = [path.name for path in folder.parent.iterdir() if has_checkpoint(path) and path.name != folder.name]
    near = difflib.get_close_matches(folder.name, names, n=1, cutoff=0.5)
    return folder.parent / near[0] if near else None


def without_checkpoint(folder: Path, meant: Path | None) -> str:
    """The text that a folder has no checkpoint; `meant` is the run that may be meant."""
    if holds_folds(folder):
        return f"{with_own_name(folder)} holds the runs of --folds: repeat their command with --resume"
    text = f"{with_own_name(folder)} holds no checkpoint to resume from"
    return text if meant is None else f"{text} (did you mean {meant}?)"


def load_run(folder: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of the run in a folder, which may have been moved, with `key.subkey=value` overrides.

    Raises InputError as `load_config` does, and if the data of the run is gone.
    """
    path = folder / CONFIG
    before = load_config(path).train.output
    config = moved(load_config(path, overrides), before, folder)
    for name, split in (("train", config.data.train), ("val", config.data.val)):
        for key in ("annotations", "images"):
            if not os.path.exists(place := getattr(split, key)):
                raise InputError(
                    f"{path}: the {key} of {name}, {place}, no longer exist: if they were moved, give "
                    f"--set data.{name}.{key}=..."
                )
    return config
