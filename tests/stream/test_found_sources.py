"""Which files the words of a command name."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from bright import scene

from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.images.reading import read_image
from rtmdet.stream.output_paths import choose_output_paths
from rtmdet.stream.sources import ImageFile, find_sources, with_range
from rtmdet.stream.video import Video


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(folder / name, scene(0))


def found(*words: object, skip: Path | None = None) -> list[str]:
    return [Path(source.name).name for source in find_sources([*map(str, words)], skip=skip).sources]


def test_patterns_leave_the_output_folder_out_as_folders_do(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "out/b.jpg", "out/crops/c.jpg")
    out = tmp_path / "out"
    assert found(tmp_path / "**" / "*.jpg", skip=out) == ["a.jpg"]
    assert found(out / "*.jpg", skip=out) == ["b.jpg"]  # named itself
    assert found(out / "c*" / "*.jpg", skip=out) == ["c.jpg"]
    assert found(tmp_path / "**" / "*.jpg") == ["a.jpg", "b.jpg", "c.jpg"]


def test_brackets_of_folders_that_exist_are_letters(tmp_path: Path) -> None:
    write(tmp_path, "photos [1]/a.jpg", "photos 1/b.jpg")
    assert found(tmp_path / "photos [1]" / "*.jpg") == ["a.jpg"]
    assert found(tmp_path / "photos [12]" / "*.jpg") == ["b.jpg"]


def test_signs_of_addresses_are_letters_in_names(tmp_path: Path) -> None:
    for name in ("clip #1.mp4", "what?.mp4"):
        (tmp_path / name).write_bytes(b"-")
    sources = find_sources([str(tmp_path / "*.mp4")]).sources
    assert [source.relative_path.name for source in sources] == ["clip #1.mp4", "what?.mp4"]
    assert all(isinstance(source, Video) for source in sources)


@pytest.mark.parametrize("word", ["https://[foo]/a.jpg", "rtsp://[::1/a"])
def test_broken_addresses(word: str) -> None:
    with pytest.raises(InputError, match=r": not an address \(.+\): correct it"):
        find_sources([word])


def test_standard_input_has_no_path_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match=r"-: expected a path, found .* standard input: save it in a file$"):
        find_sources(["-"])


def test_a_folder_of_videos_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"-")
    with pytest.raises(InputError, match=r"folder; 1 video was not searched: name each, or use a pattern$"):
        find_sources([str(tmp_path)])
    write(tmp_path, "b.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no image in this folder$"):  # not the other remark
        find_sources([str(tmp_path), str(tmp_path / "empty")])
    with pytest.raises(InputError, match=r"^'': expected the path"):
        find_sources([""])


def test_videos_of_all_folders_that_are_searched_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg")
    for name in ("a.mp4", "below/b.mp4", "below/far/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    assert find_sources([str(tmp_path)]).remarks == ["1 video was not searched: name each, or use a pattern"]
    everything = find_sources([str(tmp_path)], recursive=True).remarks
    assert everything == ["3 videos were not searched: name each, or use a pattern"]


def test_what_is_not_there_has_lines_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, line in (
        ("a.jpg", "there is no such file or folder: check the path"),
        ("below", "no image in this folder or below it"),
        ("*.jpg", "no image or video matches this pattern"),
    ):
        with pytest.raises(InputError) as caught:
            find_sources([str(tmp_path / name)], recursive=True)
        assert str(caught.value) == f"{tmp_path / name}: {line}"


def test_photos_that_cannot_be_decoded_here_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg")
    (tmp_path / "b.HEIC").write_bytes(b"heic")
    found = find_sources([str(tmp_path)])
    assert [Path(source.name).name for source in found.sources] == ["a.jpg"]
    assert found.remarks == ["1 HEIC photo cannot be decoded here: convert it to JPEG"]
    with pytest.raises(InputError, match=r"b\.HEIC: expected an image, found a HEIC photo, .* convert it to JPEG$"):
        read_image(tmp_path / "b.HEIC")


def test_how_the_weights_see_16_bit_images_is_said(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg")
    ramp = np.arange(40 * 100, dtype=np.uint16).reshape(40, 100)
    cv2.imwrite(str(tmp_path / "b.png"), ramp)
    found = find_sources([str(tmp_path)])
    assert with_range(found, None).remarks == [
        "1 of 2 checked images are 16-bit and use only 4 .. 3995 of 65535: they would have little contrast "
        "for these weights; unless these learned such images, scale their values to 0 .. 65535, or in Python set "
        "detector.value_range = (4, 3995)"
    ]
    assert with_range(found, (3, 3996)).remarks == [
        "16-bit images: the values 3 .. 3996 become black .. white (value_range of these weights)",
        "1 of 2 checked images have 8 bits per value: the value_range of these weights does not scale them",
    ]
    cv2.imwrite(str(tmp_path / "b.png"), ramp * 16)
    assert with_range(found, None).remarks == []


def test_photos_that_some_file_systems_take_for_one_have_their_own_pictures(tmp_path: Path) -> None:
    """Their names differ in the case of letters, or in their Unicode form; one has the number of another."""
    names = ["ä.jpg", "Ä.jpg", "a\u0308.jpg", "ä_2.jpg"]
    chosen = choose_output_paths([ImageFile(Path(name)) for name in names], tmp_path)
    assert [one.picture.name for one in chosen] == ["ä.jpg", "Ä_3.jpg", "a\u0308_4.jpg", "ä_2.jpg"]
    together = [
        ImageFile(Path(folder, name)) for folder, name in (("1", "ä.jpg"), ("2", "ä.jpg"), ("3", "a\u0308_2.jpg"))
    ]
    chosen = choose_output_paths(together, tmp_path)
    assert [one.file_name for one in chosen] == ["ä.jpg", "ä_3.jpg", "a\u0308_2.jpg"]
