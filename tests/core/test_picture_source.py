"""Pictures that remember their photo: still readable, replaced by the same photo's only."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtmdet.core.draw import save_image
from rtmdet.core.picture_source import free_path

PIXELS = np.full((4, 5, 3), (250, 120, 10), np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_only_the_same_photo_replaces_its_picture(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert free_path(path, tmp_path / "photo", set()) == path
    save_image(path, PIXELS, tmp_path / "photo")
    with Image.open(path) as image:
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - PIXELS).max() < 8
        comment = image.info.get("Comment", image.info.get("comment"))
    assert str(tmp_path) not in str(comment), "a path can be private"
    assert free_path(path, tmp_path / "x" / ".." / "photo", set()) == path
    assert free_path(path, tmp_path / "other" / "photo", set()) == path.with_stem("a_2")
    save_image(path, PIXELS)
    assert free_path(path, tmp_path / "photo", set()) == path.with_stem("a_2"), "nobody knows whose it is"


def test_a_picture_of_an_address_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path("https://host/photo.jpg")
    save_image(tmp_path / "a.png", PIXELS, source)
    monkeypatch.chdir(tmp_path)
    assert free_path(tmp_path / "a.png", source, set()) == tmp_path / "a.png"


def test_names_given_away_before_are_taken(tmp_path: Path) -> None:
    """Also with other letters that some file systems take for the same: in another case, or in two parts."""
    taken: set[str] = set()
    wanted = ("ä.jpg", "Ä.jpg", "a\u0308.jpg")
    names = [free_path(tmp_path / name, tmp_path / str(k), taken).name for k, name in enumerate(wanted)]
    assert names == ["ä.jpg", "Ä_2.jpg", "a\u0308_3.jpg"]
