"""Published weights by name: from the cache folder of torch.hub, else from the publisher's address."""

import contextlib
import difflib
import hashlib
import os
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import torch
from tqdm import tqdm

from rtmdet.core.console import bars_hidden
from rtmdet.core.errors import InputError
from rtmdet.core.file_lock import lock_file, unlock_file
from rtmdet.core.paths import user_path
from rtmdet.core.whole_file import replace_file
from rtmdet.core.wording import one_line, shortened
from rtmdet.models.zoo import WEIGHTS
from rtmdet.weights.checkpoint import LAST, newest_file

TIMEOUT = 30.0  # seconds without an answer or a byte
CHUNK = 1 << 20  # bytes
LOCK = ".rtmdet-lock"  # in the cache folder during a download
FILES_SHOWN = 3  # checkpoints of a folder


def resolve(name_or_path: str | Path, *, progress: bool = False) -> Path:
    """The file of a path, of a run's folder (its last.pth) or of a published name, which is downloaded once.

    An existing path has priority. `progress` draws a progress bar on stderr. Raises InputError for what is none of
    these, and if a download fails.
    """
    path = place_of(name_or_path)
    if path is not None:
        if not path.exists():
            raise _no_run(path.parent)
        return path
    name = str(name_or_path)
    if name not in WEIGHTS:
        near = difflib.get_close_matches(name, WEIGHTS, cutoff=0.4)
        known = f"nearest names: {', '.join(near)}" if near else f"check the path; known names: {', '.join(WEIGHTS)}"
        raise InputError(f"{name}: neither a file nor a published name; {known}")
    target = cached_path(name)
    if not target.is_file():
        with _alone(target.parent):
            if not target.is_file():  # another process may have downloaded it meanwhile
                download(WEIGHTS[name].url, target, sha256_prefix=WEIGHTS[name].sha256_prefix, progress=progress)
    return target


def _no_run(folder: Path) -> InputError:
    """The line for a folder without LAST, such as mmdet's, with its checkpoints: best ones first, then the newest."""
    files = [path for path in folder.glob("*.pth") if path.is_file()]
    files.sort(key=lambda path: (path.name.startswith("best"), path.stat().st_mtime, path.name), reverse=True)
    names = shortened((path.name for path in files), FILES_SHOWN)
    remedy = f"give a file in it: {names}" if files else "give a checkpoint file"
    if folds := sorted(folder.glob(f"fold_*/{LAST}")):
        remedy = f"it holds the runs of --folds: give one of them, such as {folds[0].parent}"
    return InputError(f"{folder}: expected the folder of a run, found no {LAST} in it; {remedy}")


def place_of(name_or_path: str | Path) -> Path | None:
    """The file of an existing path; of a folder the `newest_file` that it should have; None for what is no path."""
    path = user_path(name_or_path)
    if os.path.isdir(path):  # also for a text that no path can be
        return newest_file(path)  # not best.pth: it was chosen on the very images that would measure it
    return path if os.path.exists(path) else None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make other processes wait for the same folder, if the system supports locks."""
    path, file = folder / LOCK, None
    with contextlib.suppress(OSError):  # the download will report why
        folder.mkdir(parents=True, exist_ok=True)
        while (file := lock_file(path)) is None:
            time.sleep(0.1)
    try:
        yield
    finally:
        if file is not None:
            unlock_file(path, file)


def cached_path(name: str) -> Path:
    """Where the weights of a published name are stored, by download or by hand."""
    return cache_folder() / WEIGHTS[name].url.rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """Where all downloaded weights are stored."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def download(url: str, target: Path, *, sha256_prefix: str | None, progress: bool = False) -> None:
    """Download `url` to `target`, which appears only when complete and with the right hash.

    Raises InputError if the address cannot be reached, and for a truncated or different file.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}.part")  # several processes may download the same file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = _fetch(url, part, progress=progress)
        if sha256_prefix is not None and not digest.startswith(sha256_prefix):
            raise InputError(
                f"{url}: expected a file whose SHA-256 begins with {sha256_prefix}, found "
                f"{digest[: len(sha256_prefix)]}: the download was discarded, try again"
            )
        replace_file(part, target)
    except (OSError, HTTPException) as error:
        reason = one_line(getattr(error, "reason", error))
        raise InputError(
            f"{url}: cannot be fetched ({reason}): download it elsewhere and put it at {target}"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # nothing to remove: finished, or never started
            part.unlink()


def _fetch(url: str, target: Path, *, progress: bool) -> str:
    """Write the response of `url` to `target`; returns its SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response, target.open("wb") as file:
        length = int(response.headers.get("Content-Length") or 0)  # 0: unknown
        name, hidden = url.rsplit("/", 1)[-1], bars_hidden() or not progress
        with tqdm.wrapattr(file, "write", total=length or None, desc=name, disable=hidden) as counted:
            while chunk := response.read(CHUNK):
                counted.write(chunk)
                digest.update(chunk)
        if length and file.tell() != length:
            raise HTTPException(f"it ended after {file.tell()} of {length} bytes")
    return digest.hexdigest()
