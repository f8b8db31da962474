"""Text files that grow picture by picture, so that they are never in memory as a whole."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rtmdet.core.whole_file import replace_file, unwritable


class GrowingFile:
    """A text file that is created with its first text, and completed with `end`; until then it is at `place`."""

    def __init__(self, path: Path, begin: str = "", end: str = "", place: Path | None = None) -> None:
        self.path, self._begin, self._end = path, begin, end
        self._place = place or path
        self._file: IO[str] | None = None

    def append(self, text: str) -> None:
        """Add a text. Raises InputError if the file cannot be written."""
        with self._writing():
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._place.open("w", encoding="utf-8", errors="backslashreplace", newline="")
                self._file.write(self._begin)
            self._file.write(text)

    def close(self) -> None:
        """Complete the file, if there is one, and give it its name. Raises InputError if that fails."""
        if self._file is None:
            return
        with self._writing():
            with self._file as file:
                self._file = None
                file.write(self._end)
            if self._place != self.path:
                replace_file(self._place, self.path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self.path, error) from error


class ListFile(GrowingFile):
    """A JSON file with a list that grows; `before` and `after` surround its entries.

    It appears under its name when it is closed, until then under that name with `.unfinished`.
    """

    def __init__(self, path: Path, *, before: str = "[", after: str = "]", indent: int | None = None) -> None:
        place = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
        super().__init__(path, before, f"\n{after}\n", place)
        self._indent, self._comma = indent, ""

    def add(self, entry: object) -> None:
        """Append an entry. Raises InputError if the file cannot be written."""
        self.append(f"{self._comma}\n{json.dumps(entry, indent=self._indent)}")
        self._comma = ","
