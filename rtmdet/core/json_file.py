"""JSON files: read with a one-line error for every fault, written completely or not at all."""

import gc
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import read_text, write_whole


def read_json(path: Path, change: Callable[[dict[str, object]], object] | None = None) -> object:
    """The content of a JSON file, whose encoding is that of `read_text`; `change` gives what replaces each object.

    Raises InputError if the file is missing, cannot be read or is not JSON (with line and column).
    """
    text = read_text(path)
    collects = gc.isenabled()  # of several threads, the one that paused it ends the pause
    gc.disable()  # it would visit millions of new lists again and again, and free none
    try:
        return json.loads(text, object_hook=change)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path}: not JSON at {where} ({error.msg}); correct the file or write it again") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found something else; check the path") from error
    finally:
        if collects:
            gc.enable()


def write_json(path: Path, content: object, *, indent: int | None = None) -> None:
    """Write JSON, creating the folder. The write is atomic: no reader sees half a file.

    Raises InputError if it cannot be written.
    """
    write_whole(path, json.dumps(content, indent=indent).encode())


def check_output(
    path: Path,
    *inputs: Path | None,
    suffixes: Sequence[str] = (".json",),
    earlier: Callable[[object], bool] | None = None,
) -> None:
    """Raise InputError where a file would replace an input, a file in an input folder, or one of another format.

    `earlier` recognizes our own output by its content: such files may be replaced anywhere, other JSON never. Empty
    files may be replaced. Devices and pipes may have any name.
    """
    if path.is_dir():
        raise InputError(f"{path}: expected the name of a file, found a folder; give another one")
    if path.exists() and not path.is_file():
        return
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: expected a name that ends in {', '.join(suffixes)}; give another one")
    if earlier is not None and path.is_file() and path.stat().st_size:
        with suppress(InputError):  # not JSON
            if earlier(read_json(path)):
                return
        raise InputError(f"{path} holds something else, which would be lost; give another name")
    target = path.resolve()
    for source in inputs if path.exists() else ():
        # Not by the text of the paths: Data and data may be one folder.
        if source is not None and source.exists() and any(map(source.samefile, (target, *target.parents))):
            raise InputError(f"{path} may belong to {source} and would be overwritten; give another name")
