"""The splits of a data set, as COCO: found by the names of files or folders, converted when they are asked for."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rtmdet.core.json_file import write_json
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.split_names import group_files, only_file, unused_remark


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One split of a data set, as COCO."""

    coco: CocoFile
    images: Path  # its file names are relative to this folder
    remarks: Sequence[str] = ()  # one line about each kind of repair or skipped entry
    annotations: Path | None = None  # the COCO file; None if the split was converted

    def write(self, path: Path) -> Path:
        """The COCO file, written to `path` if there is none. Raises InputError if that fails."""
        if self.annotations is not None:
            return self.annotations
        write_json(path, self.coco)
        return path


Convert = Callable[[], Split]


@dataclass(frozen=True, slots=True)
class FoundSplits:
    """The splits of a data set."""

    converts: Mapping[str, Convert]
    remarks: Sequence[str] = ()  # about labels that belong to none


def convert_files(path: Path, files: Sequence[Path], convert: Callable[..., Split]) -> FoundSplits | None:
    """The splits that these label files are, None without files; a split that is asked for must have one file."""
    groups, unnamed = group_files(path, files)

    def convert_only(name: str) -> Split:
        return convert(only_file(path, name, groups[name]))

    if not groups:
        return None
    return FoundSplits({name: partial(convert_only, name) for name in groups}, unused_remark(path, unnamed))


def convert_folders(convert: Callable[..., Split], path: Path, folders: Collection[Path]) -> FoundSplits:
    """The splits that these folders of label files at or below `path` are; one may be inside another."""
    groups, unnamed = group_files(path, folders)
    converts = {
        name: partial(convert, Path(os.path.commonpath(groups[name])), folders=frozenset(groups[name]))
        for name in groups
    }
    return FoundSplits(converts, unused_remark(path, unnamed))
