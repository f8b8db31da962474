"""Files that grow: complete at any time, also where the disk is full in the middle of an entry."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from full_disk import file_size_limit

from rtmdet.core.errors import InputError
from rtmdet.stream.growing_file import GrowingFile, ListFile

ENTRIES = [{"file": f"{number}.jpg", "objects": [number] * number} for number in range(5)]


def fill(file: GrowingFile, room: int) -> int:
    """Add ENTRIES until one does not fit, and close; how many fitted."""
    added = 0
    with file_size_limit(room):
        with suppress(InputError):
            for entry in ENTRIES:
                file.add(entry) if isinstance(file, ListFile) else file.append(f"{entry['file']}\n")
                added += 1
        file.close()
    return added


@pytest.mark.parametrize("indent", [None, 1])
def test_a_full_disk_leaves_a_list_with_the_entries_that_fitted(tmp_path: Path, indent: int | None) -> None:
    counts = set()
    for room in range(0, 400, 3):
        file = ListFile(tmp_path / "a.json", before='{"images": [', after="]}", indent=indent)
        (tmp_path / "a.json").write_text("the one before")
        added = fill(file, room)
        counts.add(added)
        content = (tmp_path / "a.json").read_text()
        if not added and content == "the one before":  # not even the brackets fitted
            assert room < len('{"images": [\n]}\n')
        else:
            assert json.loads(content)["images"] == ENTRIES[:added]
            assert len(content) <= room
        assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert counts == set(range(6))


def test_a_full_disk_leaves_a_table_with_the_rows_that_fitted(tmp_path: Path) -> None:
    for room in range(60):
        (tmp_path / "a.csv").unlink(missing_ok=True)
        added = fill(GrowingFile(tmp_path / "a.csv", "file,class\n"), room)
        if room < len("file,class\n"):
            assert not (tmp_path / "a.csv").exists()
        else:
            assert (tmp_path / "a.csv").read_text().splitlines() == [
                "file,class",
                *(f"{n}.jpg" for n in range(added)),
            ]


def test_it_is_complete_after_each_text(tmp_path: Path) -> None:
    """A run that is killed leaves a file that can be read."""
    file = ListFile(tmp_path / "a.json")
    for count, entry in enumerate(ENTRIES, 1):
        file.add(entry)
        (unfinished,) = tmp_path.glob("a.json.*.unfinished")
        assert json.loads(unfinished.read_bytes()) == ENTRIES[:count]
    file.close()
    file.close()
    assert json.loads((tmp_path / "a.json").read_bytes()) == ENTRIES


def test_a_text_that_fits_after_one_that_did_not(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "a.txt", "a", "z")
    file.append("b")
    with (
        file_size_limit(10),
        pytest.raises(InputError, match=r"a\.txt: the file cannot be written \(File too large\)"),
    ):
        file.append("c" * 100)
    file.append("d")
    file.close()
    assert (tmp_path / "a.txt").read_text() == "abdz"
