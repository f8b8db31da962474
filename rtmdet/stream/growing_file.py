"""Text files that grow picture by picture, so that they are never in memory as a whole."""

import json
import os
from io import FileIO
from pathlib import Path

from rtmdet.core.whole_file import replace_file, writing


class GrowingFile:
    """A text file that is created with its first text, and until `close` at `written`.

    `end` follows the last text at any time: on a full disk the file is cut back to the last text that fitted, and
    room for the end is there.
    """

    def __init__(self, path: Path, begin: str = "", end: str = "", written: Path | None = None) -> None:
        self.path, self._begin, self._end = path, _encoded(begin), _encoded(end)
        self._written = written or path
        self._file: FileIO | None = None
        self._size = 0  # bytes without the end

    def append(self, text: str) -> None:
        """Add a text. Raises InputError if the file cannot be written."""
        with writing(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = FileIO(self._written, "w")
                self._write(self._file, self._begin)
            self._write(self._file, _encoded(text))

    def close(self) -> None:
        """Complete the file, if there is one, and give it its name. Raises InputError if that fails."""
        if self._file is None:
            return
        begun = self._size >= len(self._begin)
        with writing(self.path):
            with self._file as file:
                self._file = None
                if begun:
                    file.truncate(self._size + len(self._end))
                    self._write(file, b"")
            if not begun:
                self._written.unlink()
            elif self._written != self.path:
                replace_file(self._written, self.path)

    def _write(self, file: FileIO, content: bytes) -> None:
        """Write it in the place of the end, and the end after it."""
        file.seek(self._size)
        left = content + self._end
        while left:
            left = left[file.write(left) :]
        self._size += len(content)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


class ListFile(GrowingFile):
    """A JSON file with a list that grows; `before` and `after` surround its entries.

    It appears under its name when it is closed, until then under that name with `.unfinished`.
    """

    def __init__(self, path: Path, *, before: str = "[", after: str = "]", indent: int | None = None) -> None:
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
        super().__init__(path, before, f"\n{after}\n", unfinished)
        self._indent, self._comma = indent, ""

    def add(self, entry: object) -> None:
        """Append an entry. Raises InputError if the file cannot be written."""
        self.append(f"{self._comma}\n{json.dumps(entry, indent=self._indent)}")
        self._comma = ","
