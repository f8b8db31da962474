"""docs/settings.md: a row for every setting, as the schema has it.

`python tests/documents/test_settings.py` writes the page anew.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from rtmdet.config.file import dump_config
from rtmdet.config.schema import Config, DataConfig, SplitConfig, TransformConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
BEGINNING = """\
# Settings

Every setting of a run: a key of a YAML file as in `configs/`, or `--set train.seed=3` on the command line, or
`settings={"train.epochs": 40}` of `rtmdet.train`. The defaults are those of the published COCO recipe of the tiny
size, apart from what `configs/coco_tiny.yaml` sets; larger sizes have other augmentation (`configs/coco_l.yaml`:
`mosaic_cache: 40`, `mixup_probability: 1.0`, `mixup_cache: 20`, `resize_range: [0.1, 2.0]`). `--data` derives many
settings from the data and prints what it chose, and a setting given by hand wins. A misspelt key, or a value outside
of the limits (in `rtmdet/config/schema.py`), is refused before anything is done. A list of numbers may be written
with commas alone (`--set augmentation.resize_range=0.5,2`), a square size as one number (`--set
data.input_size=320`)."""


def meanings(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for line, after in zip(tree.body, tree.body[1:], strict=False):
        match line, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def default_of(field: Field[Any]) -> str:
    if field.default is MISSING and field.default_factory is MISSING:
        return "must be given"
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    plain = [*value] if isinstance(value, tuple) else value
    return f"`{yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix('...' + chr(10)).strip()}`"


def rows(kind: type, prefix: str) -> Iterator[str]:
    hints, texts = get_type_hints(kind), meanings(kind)
    for field in fields(kind):
        inner = hints[field.name]
        if is_dataclass(inner):
            yield from rows(inner, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            yield f"| `{prefix}{field.name}` | {default_of(field)} | {texts[field.name]} |"


def page() -> str:
    parts = [BEGINNING, ""]
    for section in fields(Config):
        kind = get_type_hints(Config)[section.name]
        parts += [f"## {section.name}\n", "| setting | default | meaning |\n|---|---|---|"]
        parts += rows(kind, f"{section.name}.")
        parts.append("")
    parts.append("Each of `augmentation.extra` has these:\n\n| key | default | meaning |\n|---|---|---|")
    parts += [*rows(TransformConfig, ""), ""]
    return "\n".join(parts)


def test_the_page_is_that_of_the_schema() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it anew: python tests/documents/test_settings.py"


def test_every_setting_has_its_row() -> None:
    split = SplitConfig("a.json", "images")
    settings = yaml.safe_load(dump_config(Config(DataConfig(split, split))))
    keys = [
        f"{section}.{key}{below}"
        for section, values in settings.items()
        for key, value in values.items()
        for below in ([f".{name}" for name in value] if isinstance(value, dict) else [""])
    ]
    text = page()
    assert len(keys) > 50
    assert [key for key in keys if f"\n| `{key}` | " not in text] == []


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
