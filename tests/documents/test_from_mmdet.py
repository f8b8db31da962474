"""docs/from-mmdet.md: its settings, defaults, commands and options are ours."""

import argparse
import re
from pathlib import Path

import pytest

from rtmdet.cli.parser import build_parser
from rtmdet.config.file import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "from-mmdet.md").read_text("utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")  # which test_settings.py compares with the schema
ROWS = re.findall(r"^\| .+ \| `([a-z0-9_.]+)` \| (.+?) \| (.*)\|$", PAGE, re.M)
COMMANDS = re.findall(r"`rtmdet ([^`]+)`|^rtmdet (.+)", PAGE, re.M)


def test_settings_have_these_defaults() -> None:
    assert len(ROWS) > 35
    assert [row for row in ROWS if f"\n| `{row[0]}` | {row[1]} | " not in SETTINGS] == []


def test_the_recipes_set_what_the_page_says() -> None:
    values = {key: note.partition("coco")[2].strip() for key, _, note in ROWS if "coco" in note}
    sizes = {name: load_config(ROOT / "configs" / f"coco_{name}.yaml") for name in ("tiny", "s", "m", "l", "x")}
    assert len(values) == 7
    for key, text in values.items():
        section, name = key.split(".")
        found = {size: getattr(getattr(config, section), name) for size, config in sizes.items()}
        which, _, value = text.rpartition(": ")
        first = {"": "tiny", "s to x": "s", "m to x": "m"}[which.strip(": ")]
        changed = [*sizes][[*sizes].index(first) :]
        shown = {str(found[size]).lower() for size in changed}
        expected = {"1": "1.0", "0.1 to 2": "(0.1, 2.0)"}.get(value, value)
        assert shown == {expected}, key


@pytest.mark.parametrize("words", sorted({"".join(found) for found in COMMANDS}))
def test_commands_have_these_options(words: str) -> None:
    parser = build_parser()
    for word in words.split():
        if word.startswith("--"):
            assert word in parser._option_string_actions
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parser = action.choices.get(word, parser)
    assert parser.prog != "rtmdet", "no such command"
