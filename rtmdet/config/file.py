"""Reading and writing configurations: YAML -> Config; and their paths: absolute ones, adjusted after a move.

Every error names the file, the line and the dotted key. Nothing in a file is executed.
"""

import dataclasses
import json
import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from rtmdet.config.limits import RangeError, kinds
from rtmdet.config.other_names import nearest, other_names
from rtmdet.config.schema import Config, DataConfig, Plain, SplitConfig
from rtmdet.core.errors import InputError
from rtmdet.core.nesting import check_unfolding
from rtmdet.core.paths import refuse_python
from rtmdet.core.whole_file import read_text
from rtmdet.core.wording import one_line


def _all_keys(kind: type, key: str = "") -> Iterator[tuple[str, bool]]:
    """The dotted keys of all sections and settings, and whether each is a section."""
    for name, hint in kinds(kind).items():
        dotted = f"{key}.{name}".lstrip(".")
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield dotted, True
            yield from _all_keys(hint, dotted)
        else:
            yield dotted, False


SECTIONS = frozenset(key for key, is_section in _all_keys(Config) if is_section)
SETTINGS = tuple(key for key, is_section in _all_keys(Config) if not is_section)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `key.subkey=value` overrides.

    Raises InputError with file, line and key for anything unknown, missing, of the wrong type or out of range.
    """
    refuse_python(path, "a YAML file with settings")
    return parse_config(read_text(path, "configuration"), str(path), overrides)


def parse_config(text: str, name: str, overrides: Sequence[str] = ()) -> Config:
    """Like `load_config`, for YAML text; `name` stands for the file in messages. Raises InputError."""
    root = _compose(text, name)
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{name}: expected settings such as `train:`, found none")
    for override in overrides:
        _apply_override(root, override)
    try:
        return _build(Config, root, "")
    except RangeError as error:
        node = _find(root, error.key)
        where = name if node is None else _where(node, "")
        raise InputError(f"{where}: {error}") from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML text that `load_config` reads back to an equal one."""
    plain = json.loads(json.dumps(dataclasses.asdict(config)))  # tuples become lists: plain YAML has no tuples
    return yaml.safe_dump(plain, sort_keys=False)


def differences(before: str, after: str) -> list[str]:
    """Differences between two texts of `dump_config`, as `train.epochs 10 -> 20`; invalid YAML counts as empty."""
    old, new = _flat(yaml_or_none(before)), _flat(yaml_or_none(after))
    return [f"{key} {old.get(key)} -> {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)]


def yaml_or_none(text: str) -> object:
    """What YAML loads from a text; None if it is not YAML, or unfolds without bound."""
    try:
        _compose(text, "")  # bounds it
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def with_absolute_paths(config: Config) -> Config:
    """The same configuration, usable from any folder."""
    data, model = config.data, config.model
    weights, backbone = (_absolute_file(path) for path in (model.weights, model.backbone_weights))
    return replace(
        config,
        data=_moved_data(data, os.path.abspath),
        model=replace(model, weights=weights, backbone_weights=backbone),
        train=replace(config.train, output=os.path.abspath(config.train.output)),
    )


def moved(config: Config, before: str, folder: Path) -> Config:
    """The configuration of a run that was moved with its contents from the folder `before` to `folder`."""

    def move(path: str) -> str:
        inside = Path(path).is_relative_to(before)
        own = folder / Path(path).relative_to(before) if inside else Path(path)
        return str(own) if own.exists() else path  # also of a copied run, whose original is still there

    output = str(folder) if config.train.output == before else config.train.output
    return replace(config, data=_moved_data(config.data, move), train=replace(config.train, output=output))


def _moved_data(data: DataConfig, move: Callable[[str], str]) -> DataConfig:
    """The same data at other paths."""
    train, val = (SplitConfig(move(split.annotations), move(split.images)) for split in (data.train, data.val))
    return replace(data, train=train, val=val)


def _absolute_file(path: str | None) -> str | None:
    """The absolute path of a file that exists; names of published weights stay."""
    return path if path is None or not os.path.exists(path) else os.path.abspath(path)


def _flat(settings: object, prefix: str = "") -> dict[str, object]:
    """Sections within sections -> dotted keys."""
    if not isinstance(settings, dict):
        return {prefix.rstrip("."): settings} if prefix else {}
    return {key: value for name, item in settings.items() for key, value in _flat(item, f"{prefix}{name}.").items()}


def _compose(text: str, name: str) -> yaml.Node | None:
    """YAML text as nodes with line numbers; several documents are refused."""
    try:
        loader = yaml.SafeLoader(text)
        loader.name = name
        node = loader.get_single_node()
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{name} is not valid YAML: {one_line(error)}") from error
    check_unfolding(node, name)
    return node


def _apply_override(root: yaml.MappingNode, override: str) -> None:
    """Set the key a.b to the value of `a.b=value`."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override}: expected KEY=VALUE, such as train.epochs=10")
    value = _compose(text, f"--set {key}") or yaml.ScalarNode("tag:yaml.org,2002:null", "")
    value.start_mark = yaml.Mark(f"--set {override}", 0, 0, 0, None, 0)
    parent = root
    *sections, last = key.strip().split(".")
    for section in sections:
        child = _child(parent, section)
        if child is None:
            child = yaml.MappingNode("tag:yaml.org,2002:map", [], value.start_mark)
        if not isinstance(child, yaml.MappingNode):
            raise InputError(f"--set {override}: {section} is a value, not a section")
        # a copy: a YAML alias may use the section elsewhere
        child = yaml.MappingNode(child.tag, [*child.value], child.start_mark)
        _set_child(parent, section, child)
        parent = child
    _set_child(parent, last, value)


def _child(node: yaml.MappingNode, key: str) -> yaml.Node | None:
    return next((value for name, value in node.value if name.value == key), None)


def _set_child(node: yaml.MappingNode, key: str, value: yaml.Node) -> None:
    """Set or replace the value of a key."""
    new_name = yaml.ScalarNode("tag:yaml.org,2002:str", key, value.start_mark)  # errors then point to --set
    for index, (name, _) in enumerate(node.value):
        if name.value == key:
            node.value[index] = (name if isinstance(value, yaml.MappingNode) else new_name, value)
            return
    node.value.append((new_name, value))


def _find(root: yaml.MappingNode, key: str) -> yaml.Node | None:
    """The value of a dotted key; None if file and overrides leave it out."""
    node: yaml.Node | None = root
    for part in key.split("."):
        node = _child(node, part) if isinstance(node, yaml.MappingNode) else None
    return node


def _where(node: yaml.Node, key: str) -> str:
    mark = node.start_mark
    where = mark.name if mark.name.startswith("--set") else f"{mark.name}, line {mark.line + 1}"
    return f"{where}: {key}" if key else where


def _build(kind: typing.Any, node: yaml.Node, key: str) -> typing.Any:
    """A value of the annotated type `kind` from a YAML node."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _respelled(arguments[1:], node) or _build(arguments[0], node, key)
    if origin in (types.UnionType, typing.Union):  # X | None
        if node.tag.endswith(":null") or (isinstance(node, yaml.ScalarNode) and node.value.lower() == "none"):
            return None
        return _build(next(option for option in arguments if option is not types.NoneType), node, key)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, node, key)
    if origin is tuple:
        return _build_tuple(arguments, node, key)
    if origin is dict:
        return _build_parameters(node, key)
    return _build_scalar(kind, node, key)


def _build_dataclass(kind: type, node: yaml.Node, key: str) -> object:
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{_where(node, key)} should be a section with settings, found {_shown(node)}")
    hints, values = kinds(kind), {}
    for name_node, value_node in node.value:
        name = name_node.value if isinstance(name_node, yaml.ScalarNode) else _shown(name_node)
        dotted = f"{key}.{name}".lstrip(".")
        if name not in hints:
            raise InputError(f"{_where(name_node, dotted)} is not a setting: {_suggest(dotted, hints, value_node)}")
        if name in values:
            raise InputError(f"{_where(name_node, dotted)} is given twice: keep one")
        values[name] = _build(hints[name], value_node, dotted)
    for item in dataclasses.fields(kind):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and item.name not in values:
            missing = f"{key}.{item.name}".lstrip(".")
            raise InputError(f"{_where(node, missing)} is missing: set it in the file or with --set {missing}=...")
    return kind(**values)


def _suggest(dotted: str, known: Iterable[str], value: yaml.Node) -> str:
    """A hint for an unknown setting: ours or advice for another program's, the nearest, or all of the section."""
    section, _, name = dotted.rpartition(".")
    if name == "<<":
        return "merge keys are not read: write the settings out"
    full = ".".join([dotted, *_first_keys(value)])
    last = full.rpartition(".")[2]
    theirs = other_names(full)
    if isinstance(theirs, str):
        return theirs
    elsewhere = {key.rpartition(".")[2]: key for key in reversed(SETTINGS)}
    found = [setting for setting in theirs if setting in SETTINGS or setting == "--resume"]
    found = found or [elsewhere[setting] for setting in (last,) if setting in elsewhere]
    if not found and (near := nearest(name, known) or elsewhere.get(nearest(name, elsewhere) or "")):
        found = [near]
    if not found:
        return f"this section has {', '.join(known)}"
    here = found[0].rpartition(".")[2]  # as far as this section has it, that is meant
    return f"did you mean {f'{section}.{here}'.lstrip('.') if here in known else found[0]}?"


def _first_keys(node: yaml.Node) -> Iterator[str]:
    """The keys of sections within a section, always the first one, as of --set a.b.c=1."""
    while isinstance(node, yaml.MappingNode) and node.value:
        name, node = node.value[0]
        yield str(name.value)


def _build_tuple(arguments: tuple[typing.Any, ...], node: yaml.Node, key: str) -> tuple[object, ...]:
    any_length = arguments[-1] is Ellipsis
    wanted, items = "a list", node.value if isinstance(node, yaml.SequenceNode) else None
    if not any_length:  # all of these are numbers, and may be written as `0.5,2` or `480x640`
        wanted = f"{len(arguments)} numbers such as {','.join('12345'[: len(arguments)])}"
        if isinstance(node, yaml.ScalarNode):
            parts = re.split("[,x]", node.value)
            items = [yaml.ScalarNode("tag:yaml.org,2002:int", part.strip(), node.start_mark) for part in parts]
    if items is None or not (any_length or len(items) == len(arguments)):
        raise InputError(f"{_where(node, key)} should be {wanted}, found {_shown(node)}")
    pairs = zip([arguments[0]] * len(items) if any_length else arguments, items, strict=True)
    return tuple(_build(kind, item, f"{key}[{i}]") for i, (kind, item) in enumerate(pairs))


def _respelled(readers: Iterable[object], node: yaml.Node) -> object:
    """The value of a text or number in another spelling of its type, by the first function that reads it, or None."""
    if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith((":str", ":int")):
        return None
    return next(filter(None, (read(node.value) for read in readers if callable(read))), None)


def _build_parameters(node: yaml.Node, key: str) -> dict[str, Plain]:
    """A mapping of plain values: arguments for another library, not checked further."""
    try:
        value = yaml.SafeLoader("").construct_document(node)
        plain = isinstance(value, dict) and _is_plain(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{_where(node, key)}: {one_line(error)}") from error
    if not plain:
        raise InputError(f"{_where(node, key)} should map names to plain values, found {_shown(node)}")
    return value


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(item) for name, item in value.items())
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)


# In YAML 1.1, 1e-3 is a string, and the name of a folder such as 2024-01-01 a date.
_TAGS = {int: {"int"}, float: {"int", "float", "str"}, bool: {"bool"}, str: {"str", "int", "float", "timestamp"}}
_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _build_scalar(kind: type, node: yaml.Node, key: str) -> object:
    tag = node.tag.rsplit(":", 1)[-1]
    if isinstance(node, yaml.ScalarNode) and tag in _TAGS[kind]:
        try:
            if kind is bool:
                return node.value.lower() in ("true", "yes", "on")
            value = int(node.value, 0) if kind is int else kind(node.value)
            if kind is not float or math.isfinite(value):
                return value
        except ValueError:
            pass
    raise InputError(f"{_where(node, key)} should be {_EXPECTED[kind]}, found {_shown(node)}")


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "nothing" if node.tag.endswith(":null") else repr(node.value)
    return "a list of " + str(len(node.value)) if isinstance(node, yaml.SequenceNode) else "a section"
