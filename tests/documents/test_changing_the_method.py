"""docs/changing-the-method.md: its files, names and settings exist, and no deliberate difference is missing."""

import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch

from rtmdet.models.rtmdet import RTMDet, build_rtmdet

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "changing-the-method.md").read_text("utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")  # which test_settings.py compares with the schema
TERMS = re.findall(r"^\| (.+?) \| (.+?\.py.+?) \| (.*?) ?\|$", PAGE, re.M)


@pytest.mark.parametrize(("term", "code", "settings"), TERMS)
def test_terms_are_where_the_page_says(term: str, code: str, settings: str) -> None:
    source = ""
    for word in re.findall(r"`(.+?)`", code):
        if word.endswith(".py"):
            source = (ROOT / "rtmdet" / word).read_text("utf-8")
        else:
            assert re.search(rf"^ *(def |class )?{word}( =|:|\(|\[)", source, re.M), f"{term}: no {word}"
    for setting in re.findall(r"`(.+?)`", settings):
        assert f"\n| `{setting}` | " in SETTINGS


def test_all_terms_are_checked() -> None:
    assert len(TERMS) == len(re.findall(r"^\|", PAGE.split("## Training otherwise")[0], re.M)) - 2 >= 14


def test_every_marked_difference_is_listed() -> None:
    package = ROOT / "rtmdet"
    texts = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in package.rglob("*.py")}
    marked = [name for name, text in texts.items() for _ in re.findall(r"Differs\s+(?:# )?from\s+mmdet", text)]
    assert sorted(re.findall(r"^- `(.+?)`: ", PAGE, re.M)) == sorted(marked)


def test_a_backbone_of_one_s_own_takes_the_weights_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(build_rtmdet("nano", 1).state_dict(), tmp_path / "person.pth")
    monkeypatch.setattr("rtmdet.weights.download.resolve", lambda _: tmp_path / "person.pth")
    [example] = (block for block in re.findall(r"```python\n(.+?)```", PAGE, re.S) if "strict=False" in block)
    names: dict[str, Any] = {"__name__": "example"}
    exec(example, names)
    assert {name.partition(".")[0] for name in names["fitting"]} == {"neck", "bbox_head"}
    left = names["own"].keys() - names["fitting"].keys()
    assert {name for name in left if not name.startswith("backbone.")} == {
        f"bbox_head.rtm_cls.{level}.{kind}" for level in range(3) for kind in ("weight", "bias")
    }
    assert names["model"](torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).logits[0].shape == (1, 3, 8, 8)
    kind = get_type_hints(RTMDet.__init__)["backbone"]
    assert issubclass(names["SixLayers"], kind), "mypy --strict takes it"
