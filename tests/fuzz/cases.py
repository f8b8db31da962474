"""A case of each kind: the files that it damages in its folder, and the command that reads them."""

import io
import json
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import torch
import yaml
from hostile import TAGS, write_hostile
from material import SETTINGS, to_xml, voc_tree
from mutations import damage_bytes, damage_tree, write_out_nests
from PIL import Image

FIRST = "000001"
FORMATS = ("JPEG", "JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
TRAIN = ("train/annotations.json", "--images", "train/images")


def prepare(kind: str, folder: Path, checkpoint: Path, seed: int, number: int) -> list[str]:
    """Damage the files in `folder`; returns the command's arguments. A pure function of kind, seed and number."""
    return KINDS[kind](folder, checkpoint, Random(f"{kind} {seed} {number}"))


def coco(folder: Path, checkpoint: Path, random: Random) -> list[str]:
    path = folder / "train/annotations.json"
    _damage_json(path, random)
    return random.choice(
        (
            ["data", "check", *TRAIN],
            ["data", "check", *TRAIN, "--config", "config.yaml", "--json", "findings.json", "--out", "pictures"],
            ["data", "show", *TRAIN, "--out", "pictures"],
            ["data", "split", TRAIN[0], "--out", "split"],
            ["check", "--config", "config.yaml"],
            _check_data("train"),
        )
    )


def yolo(folder: Path, checkpoint: Path, random: Random) -> list[str]:
    path = random.choice((folder / "data.yaml", min((folder / "train/labels").iterdir())))
    if path.suffix == ".yaml":
        _damage_yaml(path, random)
    elif random.random() < 0.4:
        path.write_bytes(damage_bytes(path.read_bytes(), random))
    else:
        lines = [line.split() for line in path.read_text().splitlines()]
        damage_tree(lines, random)
        path.write_text(write_out_nests("\n".join(_joined(line) for line in lines)), errors="surrogatepass")
    for name in ("train/annotations.json", "val/annotations.json", "config.yaml"):
        (folder / name).unlink()
    return random.choice((["data", "convert", "yolo", "data.yaml", "--out", "out.json"], _check_data(".")))


def voc(folder: Path, checkpoint: Path, random: Random) -> list[str]:
    path = min((folder / "train/voc").iterdir())
    if random.random() < 0.4:
        path.write_bytes(damage_bytes(path.read_bytes(), random))
    else:
        tree = voc_tree(f"{path.stem}.jpg", [[10, 10, 30, 30], [20.5, 40, 30, 20]])
        damage_tree(tree, random)
        text = ElementTree.tostring(to_xml("annotation", tree), "unicode")
        path.write_bytes(text.encode(random.choice(("utf-8", "utf-8", "utf-16")), "surrogatepass"))
    convert = ["data", "convert", "voc", "train/voc", "--images", "train/images", "--out", "out.json"]
    if random.random() < 0.7:
        return convert
    for file in (folder / "train/images").iterdir():  # beside the labels, where --data looks for them
        file.rename(folder / "train/voc" / file.name)
    return _check_data("train/voc")


def config(folder: Path, checkpoint: Path, random: Random) -> list[str]:
    path = folder / "config.yaml"
    if random.random() < 0.9:
        _damage_yaml(path, random)
        return random.choice((["check", "--config", path.name], ["data", "check", *TRAIN, "--config", path.name]))
    section = random.choice([name for name in SETTINGS if isinstance(SETTINGS[name], dict)])
    values = json.loads(json.dumps(SETTINGS[section]))
    damage_tree(values, random)
    key = random.choice(list(values) or ["nothing"])
    text = write_out_nests(json.dumps(values.get(key))).replace("\0", "")
    return ["check", "--config", path.name, "--set", f"{section}.{key}={text}".replace("\0", "")]


def image(folder: Path, checkpoint: Path, random: Random) -> list[str]:
    path = min((folder / "train/images").iterdir())
    path.write_bytes(damage_bytes(_picture(path, random), random) if random.random() < 0.9 else _huge(random))
    return random.choice(
        (
            ["infer", str(path.relative_to(folder)), "--weights", str(checkpoint), "--out", "found"],
            ["infer", "train/images", "--weights", str(checkpoint), "--out", "found"],
            ["data", "show", *TRAIN, "--out", "pictures"],
            ["data", "check", *TRAIN, "--decode"],
            ["check", "--config", "config.yaml"],
            ["train", "--config", "config.yaml"],
        )
    )


def weights(folder: Path, checkpoint: Path, random: Random) -> list[str]:
    path = folder / random.choice(("weights.pth", "weights.pth", "weights.pt", "weights.safetensors"))
    way = random.random()
    content = torch.load(checkpoint, weights_only=True)
    if way < 0.3:
        path = path.with_suffix(".pth")
        write_hostile(path, content, random)
    elif way < 0.6:
        path.write_bytes(damage_bytes(checkpoint.read_bytes(), random))
    else:
        _damage_content(content, random)
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=random.random() < 0.7)
        path.write_bytes(buffer.getvalue() if random.random() < 0.9 else pickle.dumps(content))
    image = str(min((folder / "train/images").iterdir()).relative_to(folder))
    return random.choice(
        (
            ["infer", image, "--weights", path.name, "--out", "found"],
            ["infer", image, "--weights", path.name, "--out", "found"],
            ["data", "check", *TRAIN, "--weights", path.name],
            ["check", "--config", "config.yaml", "--weights", path.name],
            ["check", "--data", "train", "--weights", path.name, "--set", "data.input_size=[64, 64]"],
        )
    )


KINDS: dict[str, Callable[[Path, Path, Random], list[str]]] = {
    "coco": coco,
    "yolo": yolo,
    "voc": voc,
    "yaml": config,
    "image": image,
    "checkpoint": weights,
}


def _check_data(path: str) -> list[str]:
    settings = ("model.size=nano", "data.input_size=[64, 64]", "train.device=cpu", "train.output=run")
    return ["check", "--data", path, "--weights", "none", *(word for pair in settings for word in ("--set", pair))]


def _damage_json(path: Path, random: Random) -> None:
    if random.random() < 0.25:
        path.write_bytes(damage_bytes(path.read_bytes(), random))
        return
    tree = json.loads(path.read_text())
    damage_tree(tree, random)
    path.write_text(write_out_nests(json.dumps(tree)))


def _damage_yaml(path: Path, random: Random) -> None:
    """Bytes, a tag that would run code, or the tree; trees are written as JSON, which is YAML, or as YAML."""
    way = random.random()
    text = path.read_text()
    if way < 0.3:
        path.write_bytes(damage_bytes(text.encode(), random))
    elif way < 0.4:
        place = random.choice([place for place, letter in enumerate(text) if letter == ":"]) + 1
        path.write_text(f"{text[:place]} {random.choice(TAGS)}\n{text[place:]}")
    else:
        tree = yaml.safe_load(text)
        damage_tree(tree, random)
        written = json.dumps(tree) if way < 0.7 else yaml.safe_dump(tree, sort_keys=False)
        path.write_text(write_out_nests(written), errors="surrogatepass")


def _joined(line: object) -> str:
    return " ".join(map(str, line)) if isinstance(line, list) else str(line)


def _picture(path: Path, random: Random) -> bytes:
    """The image in some format and color mode, with EXIF data."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = random.randrange(10)
    mode = random.choice(("RGB", "RGB", "L", "P", "RGBA", "CMYK", "I;16"))
    form = random.choice(FORMATS)
    with Image.open(path) as whole:
        try:
            whole.convert(mode).save(file, form, exif=exif)
        except (OSError, ValueError, TypeError):  # a format without this mode or without EXIF data
            file = io.BytesIO()
            whole.save(file, form)
    return file.getvalue()


def _huge(random: Random) -> bytes:
    """A PNG that says a huge or empty size, with right checksums."""
    size = (random.choice((0, 1, 20_000, 2**31 - 1)), random.choice((1, 40_000, 2**31 - 1)))
    header = struct.pack(">IIBBBBB", *size, 8, random.choice((0, 2, 6)), 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _damage_content(content: dict, random: Random) -> None:
    """The description of a checkpoint as a tree, or its tensors."""
    if random.random() < 0.6:
        damage_tree(content["meta"] if random.random() < 0.8 else content, random)
        return
    state = content["state_dict"]
    name = random.choice(list(state))
    tensor = state[name]
    state[name] = random.choice(
        (
            tensor.double(),
            tensor.to(torch.int8),
            tensor.to(torch.complex64),
            tensor.flatten(),
            tensor * float("nan"),
            tensor.to_sparse() if tensor.dim() else tensor,
            tensor[:0] if tensor.dim() else tensor,
            torch.nn.Parameter(tensor.float()),
            tensor.tolist(),
            None,
        )
    )
