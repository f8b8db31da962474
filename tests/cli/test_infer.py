"""`rtmdet infer`: images, folders and patterns in, pictures and one JSON out, and images that cannot be read."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from rtmdet.core.facts import ModelFacts
from rtmdet.core.file_lock import lock_file, unlock_file
from rtmdet.detector import Detector
from rtmdet.images.reading import read_image
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.stream.sources import find_sources
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import read_checkpoint

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small detector with weaker class branches: every score is near 0.01, whatever the photo."""
    state = dict(read_checkpoint(checkpoint).tensors)
    for name in state:
        if "rtm_cls" in name and name.endswith("weight"):
            state[name] = 0.02 * state[name]
    path = tmp_path_factory.mktemp("weak") / "nano.pth"
    save_checkpoint(path, model_state=state, meta=CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano")))
    return path


@pytest.fixture
def photos(dataset: Path, tmp_path: Path) -> Path:
    """A folder with three photos of different formats and sizes, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    image = read_image(dataset / "val" / "images" / "000000.jpg")
    for name, side in (("a.jpg", 96), ("b.png", 40), ("C.JPEG", 150)):
        cv2.imwrite(str(folder / name), cv2.resize(image, (side, 80)))
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def infer(checkpoint: Path, tmp_path: Path, command: Command) -> Command:
    """The command with the small detector, which scores everything near 0.01, into tmp_path/out."""

    def run(*words: object) -> CompletedProcess[str]:
        return command("infer", "--weights", checkpoint, *words, "--device", "cpu", "--out", tmp_path / "out")

    return run


def found(tmp_path: Path) -> list[dict[str, object]]:
    return json.loads((tmp_path / "out" / "detections.json").read_text())["images"]


def pictures(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "out").iterdir()} - {"detections.json"}


def test_one_image(infer: Command, photos: Path, tmp_path: Path) -> None:
    result = infer(photos / "a.jpg", "--score", 0.001)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].endswith(str(tmp_path / "out"))
    (entry,) = found(tmp_path)
    assert (entry["file"], entry["width"], entry["height"]) == (str(photos / "a.jpg"), 96, 80)
    objects = entry["objects"]
    assert isinstance(objects, list)
    assert 0 < len(objects) <= 100
    assert f"{photos / 'a.jpg'}: {len(objects)} balloon" in result.stdout
    scores = [item["score"] for item in objects]
    assert scores == sorted(scores, reverse=True)
    for item in objects:
        assert set(item) == {"class_name", "score", "box"}
        x1, y1, x2, y2 = item["box"]
        assert 0 <= x1 <= x2 <= 96
        assert 0 <= y1 <= y2 <= 80
    drawn, original = read_image(tmp_path / "out" / "a.jpg"), read_image(photos / "a.jpg")
    assert drawn.shape == original.shape
    assert np.abs(drawn.astype(int) - original).max() > 60


def test_two_at_once_do_not_write_into_one_folder(infer: Command, photos: Path, tmp_path: Path) -> None:
    """The detections.json of the last one held its own pictures only."""
    out = tmp_path / "out"
    out.mkdir()
    other = lock_file(out / ".lock")
    assert other is not None
    result = infer(photos)
    expected = f"error: {out}: another program writes detections there: wait for it, or choose another --out\n"
    assert (result.returncode, result.stderr) == (2, expected)
    assert [path.name for path in out.iterdir()] == [".lock"]
    unlock_file(out / ".lock", other)
    assert infer(photos, "--score", 0.001).returncode == 0
    assert pictures(tmp_path) == {"a.jpg", "b.jpg", "C.jpg"}


def test_nothing_found_is_an_answer(infer: Command, photos: Path, tmp_path: Path) -> None:
    result = infer(photos / "a.jpg", "--score", 0.9)
    assert result.returncode == 0
    assert f"{photos / 'a.jpg'}: nothing" in result.stdout
    assert found(tmp_path)[0]["objects"] == []
    assert pictures(tmp_path) == {"a.jpg"}


def test_folder_takes_its_images_only(infer: Command, photos: Path, tmp_path: Path) -> None:
    assert infer(photos).returncode == 0
    assert [entry["file"] for entry in found(tmp_path)] == [
        str(photos / name) for name in ("C.JPEG", "a.jpg", "b.png")
    ]
    assert pictures(tmp_path) == {"C.jpg", "a.jpg", "b.jpg"}


def test_sub_folders_are_told_of_or_searched(infer: Command, photos: Path, tmp_path: Path) -> None:
    for folder in ("left", "right/far", ".hidden"):
        (photos / folder).mkdir(parents=True)
        shutil.copy(photos / "a.jpg", photos / folder / "a.jpg")
    (photos / "empty").mkdir()
    text = "2 subfolders with images were not searched: add --recursive to include them"
    assert text in infer(photos).stdout
    result = infer(photos, "--recursive")
    assert text not in result.stdout
    entries = {str(entry["file"]): entry["picture"] for entry in found(tmp_path)}
    assert len(entries) == 5
    assert entries[str(photos / "right" / "far" / "a.jpg")] == "right/far/a.jpg"
    for picture in entries.values():
        assert (tmp_path / "out" / str(picture)).is_file()
    only = infer(photos / "right")
    assert only.returncode == 2
    assert "1 subfolder with images was not searched: add --recursive to include it" in only.stderr


def test_pictures_of_an_earlier_run_are_not_searched(tmp_path: Path) -> None:
    for name in ("a.jpg", "b/c.jpg", "out/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources = find_sources([str(tmp_path)], recursive=True, skip=tmp_path / "out").sources
    assert [(source.name, source.relative_path) for source in sources] == [
        (str(tmp_path / "a.jpg"), Path("a.jpg")), (str(tmp_path / "b" / "c.jpg"), Path("b/c.jpg")),
    ]  # fmt: skip


@pytest.mark.parametrize("option", ["--no-pictures", "--stream"])
def test_labels_of_pictures_that_are_not_drawn(infer: Command, photos: Path, option: str) -> None:
    result = infer(photos / "a.jpg", "--hide-labels", option)
    assert (result.returncode, result.stderr) == (
        2,
        "error: --hide-labels: no pictures are drawn: leave it out\n",
    )


def test_pictures_of_other_runs_stay(infer: Command, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "more")
    for _ in range(2):  # the same photo again replaces its own picture
        infer(photos / "a.jpg")
        result = infer(tmp_path / "more" / "a.jpg", "--hide-labels")
    assert pictures(tmp_path) == {"a.jpg", "a_2.jpg"}
    assert f"{tmp_path / 'more' / 'a.jpg'}: nothing -> {tmp_path / 'out' / 'a_2.jpg'}" in result.stdout
    assert f"pictures of the run before that stay in {tmp_path / 'out'}: 1\n" in result.stdout, "a.jpg"
    (tmp_path / "out" / "b.jpg").write_bytes(b"of another program")
    assert f"stay in {tmp_path / 'out'}: 1\n" in infer(photos / "b.png").stdout, "a_2.jpg of the run before"
    assert (tmp_path / "out" / "b.jpg").read_bytes() == b"of another program"
    assert found(tmp_path)[0]["picture"] == "b_2.jpg"


def test_the_top_of_the_file_tells_what_was_asked(
    infer: Command, photos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    infer(photos / "a.jpg", "--score", 0.4)
    document = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert list(document) == ["weights", "input", "score_thresholds", "images"]
    assert document["weights"] == str(checkpoint)
    assert document["input"] == {"width": 64, "height": 64}
    assert document["score_thresholds"] == {"balloon": 0.4}
    assert list(document["images"][0]) == ["file", "picture", "width", "height", "objects"]


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """A checkpoint of two classes, with a threshold for each that all scores pass."""
    meta = CheckpointMeta(ModelFacts(("cat", "dog"), (64, 64), size="nano", score_thresholds=(1e-6, 2e-6)))
    torch.manual_seed(0)
    model = build_rtmdet("nano", 2)
    for convolution in model.bbox_head.rtm_reg:
        torch.nn.init.ones_(convolution.bias)  # boxes with an area
    save_checkpoint(tmp_path / "two.pth", model_state=model.state_dict(), meta=meta)
    return tmp_path / "two.pth"


def test_only_some_classes(infer: Command, photos: Path, two_classes: Path, tmp_path: Path) -> None:
    def names(*options: object) -> set[str]:
        result = infer(photos / "a.jpg", "--weights", two_classes, *options)
        assert result.returncode == 0, result.stderr
        objects = found(tmp_path)[0]["objects"]
        assert isinstance(objects, list)
        return {item["class_name"] for item in objects}

    assert names() == {"cat", "dog"}
    assert names("--classes", "dog") == {"dog"}
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["score_thresholds"] == {"dog": 2e-6}
    assert names("--classes", "dog, cat", "--score", 0) == {"cat", "dog"}
    assert names("--classes", "dog", "--classes", "cat") == {"cat", "dog"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dgo", "--classes dgo: these weights have no such class: did you mean dog? known classes: cat, dog"),
        ("cat,Dog", "--classes Dog: these weights have no such class: did you mean dog?"),
        (" ,", "expected names separated by commas, found none"),
    ],
)
def test_unknown_classes_are_named(infer: Command, photos: Path, two_classes: Path, words: str, message: str) -> None:
    result = infer(photos / "a.jpg", "--weights", two_classes, "--classes", words)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


def test_hidden_labels(infer: Command, photos: Path, tmp_path: Path) -> None:
    images = []
    for options in ([], ["--hide-labels"]):
        infer(photos / "C.JPEG", "--score", 0.001, *options)
        images.append(read_image(tmp_path / "out" / "C.jpg"))
    assert (images[0] != images[1]).any()


def test_patterns_and_repetitions(infer: Command, photos: Path, tmp_path: Path) -> None:
    again = f"{photos}/../{photos.name}/?.jpg"
    assert infer(f"{photos}/*.png", photos / "a.jpg", again, f"{photos.parent}/**/b.png").returncode == 0
    assert [entry["file"] for entry in found(tmp_path)] == [str(photos / "b.png"), str(photos / "a.jpg")]


def test_images_of_one_name_keep_their_own_pictures(infer: Command, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "more")
    assert infer(photos, tmp_path / "more").returncode == 0
    assert len(found(tmp_path)) == 6
    assert pictures(tmp_path) == {f"{stem}{number}.jpg" for stem in "abC" for number in ("", "_2")}


def test_corrupt_image_among_good_ones_is_skipped_and_named(infer: Command, photos: Path, tmp_path: Path) -> None:
    whole = (photos / "a.jpg").read_bytes()
    (photos / "a.jpg").write_bytes(whole[: len(whole) // 2])
    result = infer(photos)
    assert result.returncode == 1
    told = [line for line in result.stderr.splitlines() if line.startswith("skipped: ")]
    assert len(told) == 1
    assert str(photos / "a.jpg") in told[0]
    assert pictures(tmp_path) == {"C.jpg", "b.jpg"}
    assert len(found(tmp_path)) == 2


def test_only_corrupt_images_are_an_error(infer: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").write_bytes(b"")
    result = infer(photos / "a.jpg")
    assert "earlier" not in result.stdout
    assert (result.returncode, result.stdout.count("\n")) == (2, 1), "the line about the weights alone"
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {photos / 'a.jpg'}: expected an image, found an empty file")
    assert not (tmp_path / "out").exists()


def test_drawn_pictures_never_replace_the_photos(
    photos: Path, checkpoint: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    monkeypatch.chdir(photos)
    for out in (photos, "."):
        result = command("infer", photos, "--weights", checkpoint, "--out", out)
        assert result.returncode == 2
        (line,) = result.stderr.splitlines()
        assert "a.jpg" in line
        assert "--out" in line
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


@pytest.mark.parametrize("score", [-0.1, 1.5])
def test_refuses_a_score_out_of_range(infer: Command, photos: Path, score: float) -> None:
    result = infer(photos, "--score", score)
    assert result.returncode == 2
    assert result.stderr == f"error: --score {score}: expected a number from 0 to 1, or auto\n"


def test_standard_input_has_a_path(infer: Command) -> None:
    result = infer("-")
    assert result.returncode == 2
    assert (
        result.stderr
        == "error: -: expected a path, found the sign for standard input: for a photo from there give /dev/stdin\n"
    )


@pytest.mark.parametrize("pattern", ["none.jpg", "*.bmp", ""])
def test_names_a_path_without_images(infer: Command, photos: Path, pattern: str) -> None:
    (photos / "empty").mkdir()
    path = photos / (pattern or "empty")
    result = infer(photos / "a.jpg", path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {path}: ")


def test_class_names_of_the_user(infer: Command, photos: Path, tmp_path: Path) -> None:
    assert infer(photos / "a.jpg", "--score", 0.001, "--class-names", "hot air balloon").returncode == 0
    objects = found(tmp_path)[0]["objects"]
    assert isinstance(objects, list)
    assert {item["class_name"] for item in objects} == {"hot air balloon"}


def test_patterns_and_folders_take_image_files_only(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.PNG", "notes.json"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    images = [str(tmp_path / "a.jpg"), str(tmp_path / "b.PNG")]
    for word in (tmp_path / "*", tmp_path):
        assert [source.name for source in find_sources([str(word)]).sources] == images


def with_thresholds(checkpoint: Path, path: Path, thresholds: tuple[float, ...]) -> Path:
    """A copy of the checkpoint that knows where its class is cut."""
    weights = read_checkpoint(checkpoint)
    meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano", score_thresholds=thresholds))
    save_checkpoint(path, model_state=weights.tensors, meta=meta)
    return path


def test_score_auto_takes_the_threshold_of_the_checkpoint(
    infer: Command, checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    """The scores are all near 0.01: the default 0.3 finds nothing, 0.002 everything."""
    nothing = infer(photos / "a.jpg")
    assert (
        "showing detections above 0.3 (these weights store no tuned thresholds; change with --score)\n"
        in nothing.stdout
    )
    assert not found(tmp_path)[0]["objects"]
    known = with_thresholds(checkpoint, tmp_path / "known.pth", (0.002,))
    result = infer(photos / "a.jpg", "--weights", known)
    assert "thresholds tuned on your validation images: balloon 0.002\n" in result.stdout
    assert found(tmp_path)[0]["objects"]
    assert result.returncode == 0
    lines = infer(photos / "a.jpg", "--weights", known, "--score", 0.5).stdout.splitlines()
    assert lines[1] == "showing detections above 0.5"
    assert not found(tmp_path)[0]["objects"]


def test_refuses_a_score_that_is_no_number(infer: Command, photos: Path) -> None:
    result = infer(photos, "--score", "high")
    assert result.returncode == 2
    assert "expected a number or auto, found 'high'" in result.stderr


def test_lines_of_json_and_nothing_else(infer: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "b.png").write_bytes(b"")
    result = infer(photos, "--score", 0.001, "--stream", "--max-boxes", 3)
    entries = [json.loads(line) for line in result.stdout.splitlines()]
    (unread,) = [entry for entry in entries if "error" in entry]
    assert unread["file"] == str(photos / "b.png")
    assert unread["error"].startswith(f"{photos / 'b.png'}: expected an image, found an empty file")
    entries.remove(unread)
    assert [Path(entry["file"]).name for entry in entries] == ["C.JPEG", "a.jpg"]
    assert [list(entry) for entry in entries] == [["file", "width", "height", "objects"]] * 2
    assert all(0 < len(entry["objects"]) <= 3 for entry in entries)
    assert result.returncode == 1
    assert "1 class (balloon)" in result.stderr
    assert f"skipped: {photos / 'b.png'}" in result.stderr
    assert not (tmp_path / "out").exists()


def test_other_outputs(infer: Command, photos: Path, tmp_path: Path) -> None:
    result = infer(
        photos / "a.jpg", "--score", 0.001, "--max-boxes", 2, "--no-pictures", "--crops", "--save", "csv", "voc"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{photos / 'a.jpg'}: 2 balloon\n" in result.stdout
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    crops = {f"crops/balloon/a_{number}.jpg" for number in (1, 2)}
    assert written == {"detections.json", "detections.csv", "voc/Annotations/a.xml", *crops}


def test_16_bit_images_are_read_with_the_range_of_the_weights(
    checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    """As the Detector of the same weights reads them."""
    meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano", value_range=(300, 4000)))
    save_checkpoint(tmp_path / "deep.pth", model_state=dict(read_checkpoint(checkpoint).tensors), meta=meta)
    deep = np.random.default_rng(0).integers(300, 4000, (64, 64, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    words = ("--score", 0.001, "--no-pictures", "--device", "cpu", "--out", tmp_path / "out")
    result = command("infer", tmp_path / "deep.png", "--weights", tmp_path / "deep.pth", *words)
    assert (
        "16-bit images: the values 300 .. 4000 become black .. white (value_range of these weights)" in result.stdout
    )
    (entry,) = found(tmp_path)
    boxes = Detector(tmp_path / "deep.pth", device="cpu")(tmp_path / "deep.png", score=0.001)
    assert [one["score"] for one in entry["objects"]] == pytest.approx(boxes.scores.tolist(), abs=1e-4)


def hostile(folder: Path) -> None:
    """Files that are unusual, and some that are no images."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8)
    frames = [Image.fromarray(noise[..., first : first + 3]) for first in (0, 1)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(noise, mode="CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(noise).save(folder / "rgba.png")
    cv2.imwrite(str(folder / "deep.png"), noise[..., :3].astype(np.uint16) * 200)
    Image.fromarray(noise[:1, :1, :3]).save(folder / "dot.png")
    Image.fromarray(np.zeros((1, 20000, 3), np.uint8)).save(folder / "wide.png")
    (folder / "empty.png").write_bytes(b"")
    header = struct.pack(">4sIIBBBBB", b"IHDR", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (folder / "bomb.png").write_bytes(bomb + b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND")))


def test_unusual_images_give_a_result_or_one_line(infer: Command, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    hostile(folder)
    result = infer(folder, "--score", 0.001, "--crops")
    assert result.returncode == 1
    sizes = {Path(str(entry["file"])).name: (entry["width"], entry["height"]) for entry in found(tmp_path)}
    assert sizes == {
        "animated.gif": (50, 40), "cmyk.jpg": (50, 40), "deep.png": (50, 40), "dot.png": (1, 1), "rgba.png": (50, 40),
        "wide.png": (20000, 1),
    }  # fmt: skip
    lines = result.stderr.splitlines()
    assert [line.split(": ")[1].rpartition("/")[2] for line in lines] == ["bomb.png", "empty.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", 0], "--batch 0: expected at least 1"),
        (["--max-boxes", 0], "--max-boxes 0: expected at least 1"),
        (["--save", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_options_out_of_range(infer: Command, photos: Path, words: list[object], message: str) -> None:
    result = infer(photos / "a.jpg", *words)
    assert result.returncode == 2
    assert message in result.stderr
