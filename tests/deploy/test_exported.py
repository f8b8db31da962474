"""Exported files: the network's numbers at every size and batch, and what they say about themselves."""

import os
import pickle
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from lively import assert_close
from PIL import Image

import rtmdet
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ExportFacts, ModelFacts, NmsFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.deploy.exported import ExportedBackend, check_interface
from rtmdet.deploy.onnx_file import DecodedModel, finish_onnx, trace_onnx
from rtmdet.deploy.openvino_backend import save_as_openvino
from rtmdet.detector import Detector
from rtmdet.images.reading import read_image

CLASSES = ("cat", "dog", "emu")
SIZE = (192, 256)  # (H, W) of the network's input
FACTS = ExportFacts(
    ModelFacts(
        CLASSES, SIZE, category_ids=(4, 7, 9), score_thresholds=(0.6, 0.7, 0.8), value_range=(100, 4000),
        size="nano", config="model:\n  size: nano  # \"ü\"\n",
    ),
    version="1.2.3",
    weights="abc",
)  # fmt: skip
KINDS = ("plain.onnx", "nms.onnx", "fixed.onnx", "plain.xml", "nms.xml")


pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def model(shared: Path) -> rtmdet.RTMDet:
    """The person detector with three classes that it is more or less sure of."""
    person = Detector(shared / "weights" / "rtmdet_nano_person_bn.pth", device="cpu", fold=False).model
    model = rtmdet.build_rtmdet("nano", len(CLASSES))
    tensors = {
        name: torch.cat([tensor, tensor * 1.05, tensor * 1.1]) if "rtm_cls" in name else tensor
        for name, tensor in person.state_dict().items()
    }
    model.load_state_dict(tensors)
    return model.eval()


@pytest.fixture(scope="module")
def folder(model: rtmdet.RTMDet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each of KINDS."""
    folder = tmp_path_factory.mktemp("exported")
    nms = replace(FACTS, nms=NmsFacts(score=0.001, iou=0.65, most=300))
    for name, facts in (("plain", FACTS), ("nms", nms), ("fixed", replace(FACTS, fixed_input=True, fixed_batch=2))):
        finish_onnx(trace_onnx(model, facts), facts, folder / f"{name}.onnx")
        if name != "fixed":
            save_as_openvino(folder / f"{name}.onnx", facts.to_text(), folder / f"{name}.xml", half=False)
    return folder


@pytest.fixture(scope="module")
def network(model: rtmdet.RTMDet) -> Detector:
    return Detector.from_model(model, ModelFacts(CLASSES, SIZE), torch.device("cpu"))


@pytest.fixture(scope="module")
def images(shared: Path) -> list[np.ndarray]:
    """Photos of several shapes; the last one is tiny."""
    paths = sorted((shared / "data" / "balloon" / "val").glob("*.jpg"))
    photos = [cv2.resize(read_image(path), None, fx=0.25, fy=0.25) for path in paths[:4]]
    return [*photos, np.ascontiguousarray(photos[0].transpose(1, 0, 2)), photos[0][:9, :9]]


@pytest.mark.parametrize("shape", [(1, 640, 640), (1, 480, 640), (1, 736, 1280), (3, 320, 416)])
def test_numbers_are_those_of_the_network(
    model: rtmdet.RTMDet, folder: Path, images: list[np.ndarray], shape: tuple[int, int, int]
) -> None:
    photos = [cv2.resize(image, (shape[2], shape[1])) for image in images[: shape[0]]]
    batch = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous()
    session = onnxruntime.InferenceSession(folder / "plain.onnx", providers=["CPUExecutionProvider"])
    boxes, scores = session.run(None, {"images": batch.numpy()})
    with torch.no_grad():
        expected_boxes, expected_scores = DecodedModel(model, clip=False)(batch)
    assert expected_scores.std() > 0.01
    np.testing.assert_allclose(boxes, expected_boxes, atol=0.01, rtol=1e-5)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)


def test_one_file_takes_any_sizes_in_turn(model: rtmdet.RTMDet, folder: Path, images: list[np.ndarray]) -> None:
    """Also more of them, and more often, than OpenVINO compiles the network for."""
    backend = Detector(folder / "plain.xml", device="cpu").backend
    sizes = [(96, 128), (128, 96), (160, 96), (64, 64), (224, 96)]
    for count, (height, width) in [(2, size) for size in sizes * 4] + [(1, sizes[0]), (3, sizes[0])]:
        photos = [cv2.resize(image, (width, height)) for image in images[:count]]
        batch = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous()
        with torch.no_grad():
            expected_boxes, expected_scores = DecodedModel(model, clip=False)(batch)
        boxes, scores = backend.forward(batch.numpy())
        np.testing.assert_allclose(boxes, expected_boxes, atol=0.01, rtol=1e-5)
        np.testing.assert_allclose(scores, expected_scores, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_detections_are_those_of_the_network(
    network: Detector, folder: Path, images: list[np.ndarray], name: str
) -> None:
    """The same call, the same detections, whatever runs the network, the size of the batch and the threshold."""
    file = Detector(folder / name, device="cpu")
    assert min(map(len, network(images[:5], score=0.1))) >= 3
    for score in (0.1, (0.2, 0.3, 0.4)):
        for found, other in zip(file(images, score=score, batch_size=3), network(images, score=score), strict=True):
            assert isinstance(found.boxes, np.ndarray)
            assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
            assert_close(found.to("cpu"), other)
            assert len(found[found.scores > 0.5]) == int((other.scores > 0.5).sum())


@pytest.mark.parametrize("name", KINDS)
def test_a_file_knows_what_the_checkpoint_knew(folder: Path, name: str) -> None:
    file = Detector(folder / name, device="cpu")
    assert file.facts == FACTS.model
    assert file.thresholds() == (0.6, 0.7, 0.8)
    assert (file.device, file.path) == ("cpu", folder / name)


@pytest.mark.parametrize("name", ["plain.onnx", "plain.xml"])
def test_other_input_sizes_and_names(network: Detector, folder: Path, images: list[np.ndarray], name: str) -> None:
    file = Detector(folder / name, device="cpu", input_size=(96, 128), classes=("a", "b", "c"))
    whole = Detector.from_model(network.model, ModelFacts(("a", "b", "c"), (96, 128)), torch.device("cpu"))
    for found, other in zip(file(images, score=0.1), whole(images, score=0.1), strict=True):
        assert_close(found.to("cpu"), other)
        assert sorted(found.names) == sorted(other.names)
    with pytest.raises(InputError, match=r"has 3 classes, found 2 names \(a, b\)"):
        Detector(folder / name, device="cpu", classes=("a", "b"))


def test_a_file_says_which_sizes_vary(folder: Path) -> None:
    """The exporter of torch 2.6 wrote those of its example, which other programs take for the only ones."""
    session = onnxruntime.InferenceSession(folder / "plain.onnx", providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert images.shape == ["batch", 3, "32*rows", "32*columns"]
    for output, values in zip(session.get_outputs(), (4, len(CLASSES)), strict=True):
        batch, priors, last = output.shape
        assert (batch, last) == ("batch", values)
        assert isinstance(priors, str)
        assert not priors.isdigit()


@pytest.mark.parametrize("name", KINDS)
def test_a_file_says_nothing_about_the_source_code(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    assert b"pkg.torch" not in content
    assert b".py" not in content
    assert os.fsencode(Path(torch.__file__).parent) not in content


def test_a_fixed_file_refuses_other_sizes(folder: Path, images: list[np.ndarray]) -> None:
    file = Detector(folder / "fixed.onnx", device="cpu", input_size=(96, 128))
    with pytest.raises(InputError, match=r"takes only images of 256 x 192 pixels, found 128 x 96"):
        file(images)


def test_no_box_voting_where_nms_is_in_the_file(folder: Path) -> None:
    voting = NmsSettings(0.6, box_voting=True)
    with pytest.raises(InputError, match=r"nms\.onnx: NMS in the file drops the boxes that vote: export it without"):
        Detector(folder / "nms.onnx", device="cpu").with_nms(voting)
    assert Detector(folder / "plain.onnx", device="cpu").with_nms(voting).facts.nms == voting


def test_nms_in_the_file_leaves_no_boxes_of_more_overlap(folder: Path, images: list[np.ndarray]) -> None:
    file = Detector(folder / "nms.onnx", device="cpu")
    words = r"nms\.onnx: NMS in the file drops boxes that overlap by more than 0\.65, so that 0\.9 has no effect"
    with pytest.raises(InputError, match=words):
        file(images[0], iou_threshold=0.9)
    with pytest.raises(InputError, match=words):
        file.with_nms(NmsSettings(0.9))
    assert len(file(images[0], iou_threshold=0.3, score=0.1)) <= len(file(images[0], iou_threshold=0.65, score=0.1))


@pytest.mark.parametrize("name", ["plain.onnx", "nms.onnx", "plain.xml"])
def test_threads(folder: Path, images: list[np.ndarray], name: str) -> None:
    file = Detector(folder / name, device="cpu")
    alone = file(images, score=0.1)
    with ThreadPoolExecutor(8) as pool:
        for together in pool.map(lambda _: file(images, score=0.1), range(16)):
            for found, other in zip(together, alone, strict=True):
                assert_close(found.to("cpu"), other.to("cpu"))


def test_gradients_need_the_checkpoint(folder: Path) -> None:
    with pytest.raises(InputError, match=r"plain\.onnx: this needs the layers and gradients .* give the checkpoint"):
        Detector(folder / "plain.onnx", device="cpu").model  # noqa: B018


DETECT = """
import sys
from rtmdet import Detector
found = Detector(sys.argv[1], device="cpu")(sys.argv[2], score=0.1)
found.save(sys.argv[3])
print(len(found), found[0].name, found.boxes.shape, found.to_coco(1)[0]["category_id"], "torch" in sys.modules)
"""


@pytest.mark.parametrize("name", ["plain.onnx", "nms.xml"])
def test_torch_is_not_imported(
    network: Detector, folder: Path, images: list[np.ndarray], tmp_path: Path, name: str
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(images[0]).save(photo)
    words = [sys.executable, "-c", DETECT, str(folder / name), str(photo), str(tmp_path / "drawn.png")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ}, check=True)
    other = network(images[0], score=0.1)
    id_of_first = (4, 7, 9)[int(other.labels[0])]
    assert done.stdout.split("\n")[0] == f"{len(other)} {other.names[0]} ({len(other)}, 4) {id_of_first} False"
    height, width = images[0].shape[:2]
    assert Image.open(tmp_path / "drawn.png").size == (width, height)


INFER = """
import sys
from rtmdet.cli.main import main
weights, photo, out = sys.argv[1:]
code = main(["infer", photo, "--weights", weights, "--score", "0.1", "--out", out, "--save", "coco"])
print(code, "torch" in sys.modules)
"""


def test_the_command_imports_no_torch(folder: Path, images: list[np.ndarray], tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(images[0]).save(photo)
    words = [sys.executable, "-c", INFER, str(folder / "plain.onnx"), str(photo), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ}, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert (tmp_path / "out" / "photo.jpg").is_file()


FEW_PACKAGES = """
import sys
documented = "numpy PIL cv2 onnxruntime tqdm yaml".split()
theirs = "flatbuffers google packaging".split()  # what pip installs with onnxruntime

class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if not top.startswith("_") and top not in [*sys.stdlib_module_names, *documented, *theirs, "rtmdet"]:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)

sys.meta_path.insert(0, Missing())
from rtmdet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_documented_packages_suffice(folder: Path, images: list[np.ndarray], tmp_path: Path) -> None:
    """Those of docs/export.md, "where torch is not even installed"."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", FEW_PACKAGES, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ})

    file, photo, out = folder / "plain.onnx", tmp_path / "photo.png", tmp_path / "out"
    Image.fromarray(images[0]).save(photo)
    told = run("info", file)
    assert told.stdout.splitlines()[2].split() == ["classes", "3:", *["cat,", "dog,", "emu"]], told.stderr
    done = run("infer", photo, "--weights", file, "--score", "0.1", "--out", out, "--save", "coco", "csv", "yolo")
    assert (done.returncode, done.stderr) == (0, "")
    assert (out / "photo.jpg").is_file()
    lacking = run("evaluate", "--weights", file, "--data", tmp_path)
    assert re.fullmatch(r"error: this command needs the package \w+, which is missing: .*\n", lacking.stderr)


def test_files_that_are_not_ours(folder: Path, tmp_path: Path) -> None:
    """One line that names the file and says what to do."""
    whole = (folder / "plain.onnx").read_bytes()
    cut, text, empty = tmp_path / "cut.onnx", tmp_path / "text.onnx", tmp_path / "empty.onnx"
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("<html>")
    empty.touch()
    for path in (cut, text, empty):
        with pytest.raises(InputError, match=rf"{path.name}: not an ONNX file .* export it again$"):
            Detector(path)
    with pytest.raises(InputError, match=r"missing\.onnx: no such file"):
        Detector(tmp_path / "missing.onnx")
    lone = tmp_path / "lone.xml"
    lone.write_bytes((folder / "plain.xml").read_bytes())
    with pytest.raises(InputError, match=r"lone\.bin: no such file"):
        Detector(lone)
    with pytest.raises(InputError, match=r"device 'cuda:7' cannot be used here by ONNX Runtime: try cpu"):
        Detector(folder / "plain.onnx", device="cuda:7")


def test_weights_in_other_files_are_not_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would take them from the current folder."""
    import onnx

    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.load(folder / "plain.onnx"), "a.onnx", save_as_external_data=True, location="private.bin")
    assert Path("private.bin").is_file()
    with pytest.raises(InputError, match=r"a\.onnx: not an ONNX file that can be run, .*External data.*: export it"):
        Detector("a.onnx")


def test_foreign_and_damaged_metadata(model: rtmdet.RTMDet, folder: Path, tmp_path: Path) -> None:
    import onnx

    proto = onnx.load(folder / "plain.onnx")
    for changes, message in (
        (None, r"expected a file of rtmdet export, found one without its class names"),
        ({"format": '"plain-rtmdet 9"'}, r"expected the format plain-rtmdet 1, found plain-rtmdet 9"),
        ({"classes": "[1, 2"}, r"its metadata is damaged \(JSONDecodeError"),
        ({"input_size": "[64]"}, r"its metadata is damaged \(ValueError"),
    ):
        del proto.metadata_props[:]
        if changes is not None:
            onnx.helper.set_model_props(proto, FACTS.to_text() | changes)
        onnx.save(proto, tmp_path / "changed.onnx")
        with pytest.raises(InputError, match=message):
            Detector(tmp_path / "changed.onnx")


def test_metadata_of_another_network(model: rtmdet.RTMDet, tmp_path: Path) -> None:
    graph = trace_onnx(model, FACTS)
    others = {
        "scores of 3 classes, names of 2": {"model": replace(FACTS.model, classes=CLASSES[:2])},
        "inputs {'images': [None, 3, None, None]}": {"fixed_batch": 4},
    }
    for what, changed in others.items():
        facts = replace(FACTS, **changed)
        if "model" in changed:
            facts = replace(facts, model=replace(facts.model, category_ids=(), score_thresholds=()))
        finish_onnx(graph, facts, tmp_path / "a.onnx")
        with pytest.raises(InputError, match=re.escape(f"a.onnx: its metadata do not fit its network ({what})")):
            Detector(tmp_path / "a.onnx")


def test_an_xml_knows_its_bin(folder: Path, tmp_path: Path) -> None:
    for name in ("plain.xml", "plain.bin"):
        shutil.copy(folder / name, tmp_path / name)
    Detector(tmp_path / "plain.xml")
    data = bytearray((tmp_path / "plain.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "plain.bin").write_bytes(data)
    with pytest.raises(
        InputError, match=r"plain\.bin: not the one of plain\.xml, or damaged: copy both of one export"
    ):
        Detector(tmp_path / "plain.xml")
    with pytest.raises(InputError, match=r"plain\.bin belongs to plain\.xml: give that"):
        Detector(tmp_path / "plain.bin")


def test_an_xml_is_read_as_openvino_s_alone(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """OpenVINO would try its readers of other formats, which print what they think of it."""
    import onnx

    proto = onnx.load(folder / "plain.onnx")
    proto.producer_name = "<net "
    (tmp_path / "a.bin").touch()
    for content in (proto.SerializeToString(), b'<net name="x"'):
        (tmp_path / "a.xml").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.xml: not an OpenVINO file that can be run, or a damaged one"):
            Detector(tmp_path / "a.xml")
    assert capfd.readouterr() == ("", "")


def test_signals_arrive_after_detectors_are_gone(folder: Path) -> None:
    """Python's handlers run in memory that libraries may exchange, if faulthandler or pytest asked for some."""
    code = f"""
import gc, os, signal
from rtmdet import Detector
received = []
signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
first, second = (Detector({str(folder / "plain.xml")!r}, device="cpu") for _ in range(2))
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
print(received)
"""
    command = [sys.executable, "-X", "faulthandler", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[15]\n")


@pytest.mark.parametrize("name", ["plain.onnx", "plain.xml"])
def test_a_copy_for_another_process(folder: Path, images: list[np.ndarray], name: str) -> None:
    file = Detector(folder / name, device="cpu", threads=1)
    for found, expected in zip(pickle.loads(pickle.dumps(file))(images), file(images), strict=True):
        assert_close(found.to("cpu"), expected.to("cpu"))


@pytest.mark.parametrize("threads", [0, -1])
def test_there_is_at_least_one_thread(folder: Path, threads: int) -> None:
    with pytest.raises(InputError, match=rf"threads {threads}: expected at least 1"):
        Detector(folder / "plain.onnx", threads=threads)


def test_a_gpu_that_does_not_work_is_left_out_or_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists what it was built for, and falls back to the CPU without a word."""
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    opened = onnxruntime.InferenceSession

    def fall_back(content: bytes, options: object, _: object) -> onnxruntime.InferenceSession:
        return opened(content, options, ["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)
    assert Detector(folder / "plain.onnx").device == "cpu"
    with pytest.raises(InputError, match="device 'cuda': ONNX Runtime cannot use CUDA here: try cpu"):
        Detector(folder / "plain.onnx", device="cuda")


BOXES, SCORES = np.zeros((2, 21, 4), np.float32), np.zeros((2, 21, 3), np.float32)  # of two images of 32 x 32 pixels
NO_BOXES, NONE, NO_LABELS = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
LYING = {
    "wide boxes": [np.zeros((2, 21, 9), np.float32), SCORES],
    "fewer classes": [BOXES, SCORES[..., :2]],
    "fewer priors": [BOXES[:, :7], SCORES[:, :7]],
    "fewer images": [BOXES[:1], SCORES[:1]],
    "words": [BOXES.astype(str), SCORES],
    "one number": [BOXES, np.float32(1)],
    "nms: other numbers": [NO_LABELS, NO_BOXES, np.zeros(3, np.float32), NO_LABELS],
    "nms: one number": [np.int64(0), BOXES[0, 0], np.float32(1), np.int64(0)],
    "nms: unknown class": [*([array] for array in (np.int64(0), BOXES[0, 0], np.float32(1), np.int64(3)))],
}


@pytest.mark.parametrize("name", LYING)
def test_outputs_that_do_not_fit_the_metadata(name: str) -> None:
    facts = replace(FACTS, nms=NmsFacts(0.1, 0.6, 9) if name.startswith("nms") else None)
    honest = [BOXES, SCORES] if facts.nms is None else [NO_LABELS, NO_BOXES, NONE, NO_LABELS]
    for outputs in (honest, LYING[name]):
        backend = ExportedBackend("a.onnx", lambda _, outputs=outputs: outputs, facts, "cpu", lambda: None)
        if outputs is honest:
            assert len(backend.forward(np.zeros((2, 3, 32, 32), np.uint8))) == len(honest)
            continue
        with pytest.raises(InputError, match=r"a\.onnx: its metadata do not fit its network \(outputs .* export it"):
            backend.forward(np.zeros((2, 3, 32, 32), np.uint8))


def test_a_network_that_fails_is_named() -> None:
    def fail(images: np.ndarray) -> list[np.ndarray]:
        raise RuntimeError("Reshape:\nno such shape")

    backend = ExportedBackend("a.onnx", fail, FACTS, "cpu", lambda: None)
    with pytest.raises(InputError, match=r"^a\.onnx: running it on a batch of 2 of 64 x 32 pixels failed \(Resh"):
        backend.forward(np.zeros((2, 3, 32, 64), np.uint8))


def test_scores_of_no_dimension_are_named() -> None:
    ends: dict[str, dict[str, list[int | None]]] = {"inputs": {"images": [None, 3, None, None]}}
    with pytest.raises(InputError, match="do not fit"):
        check_interface("a.onnx", FACTS, ends["inputs"], {"boxes": [], "scores": []})
