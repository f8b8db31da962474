"""Who may import whom, who may speak to the user, and how long things may be: read from the syntax trees."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "rtmdet"
# Room -> the rooms that it may import; runs, api and cli join all of them.
ALLOWED = {
    "core": set(),
    "config": {"core"},
    "images": {"core"},
    "data": {"core", "images"},
    "models": {"core"},
    "evaluation": {"core"},
    "weights": {"core", "models"},
    # of data the loader that it takes batches from, of weights the checkpoints: they hold the state of a training
    "training": {"core", "data", "evaluation", "weights"},
    "deploy": {"core", "models", "weights"},
    "detector": {"core", "deploy", "evaluation", "images", "models"},
    # of data the label formats, of deploy the views
    "stream": {"core", "data", "deploy", "detector", "images"},
    "viz": {"core", "evaluation", "training"},  # of training the records and the log that the curves are drawn from
    "measuring": {"config", "core", "data", "deploy", "detector", "evaluation", "images", "weights"},
    "exporting": {"core", "data", "deploy", "detector", "evaluation", "images", "measuring"},
}
JOINERS = {"runs", "api", "cli", "__main__"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
DRAWERS = {"utils", "util", "misc", "common", "helpers", "helper"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(path: Path) -> str:
    """rtmdet/data/coco/dataset.py -> data.coco; a package has the name of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
PARTS = {name: tree for name, tree in TREES.items() if name}  # all but rtmdet/__init__, which names its homes lazily


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names of all modules that are imported anywhere in a file, relative ones as they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.AST) -> set[str]:
    """The modules of this package that a file imports, without the package's name."""
    names = {name.removeprefix("rtmdet.") for name in imports(tree) if name.startswith("rtmdet.")}
    return names & set(TREES)


def room(module: str) -> str:
    return module.partition(".")[0]


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def expressions(trees: dict[str, ast.Module]) -> Iterator[tuple[str, str]]:
    """All names and attributes of files that are read, not set, each with its place."""
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield f"{name}, line {node.lineno}", ast.unparse(node)


def test_all_files_are_seen() -> None:
    assert {"data.coco.dataset", "models.head", "training.engine", "cli.train", "core.structures"} <= set(PARTS)
    assert own_imports(TREES["detector"]) >= {"deploy.torch_backend", "core.letterbox", "core.detections"}


def test_every_room_has_its_rule() -> None:
    assert {room(name) for name in PARTS} <= set(ALLOWED) | JOINERS


def test_rooms_import_only_what_they_may() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in PARTS.items()
        if room(name) in ALLOWED
        for other in own_imports(tree)
        if room(other) not in ALLOWED[room(name)] | {room(name)}
    ]
    assert not wrong


def test_rooms_may_import_no_more_than_they_do() -> None:
    used = {own: {room(other) for name, tree in PARTS.items() if room(name) == own for other in own_imports(tree)}
            for own in ALLOWED}  # fmt: skip
    assert not {own: unused for own, allowed in ALLOWED.items() if (unused := allowed - used[own])}


def test_no_relative_imports() -> None:
    assert not [(name, found) for name, tree in TREES.items() for found in imports(tree) if found.startswith(".")]


def test_no_circles() -> None:
    graph = {name: own_imports(tree) - {name} for name, tree in PARTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(("library", "file"), [("av", "stream.video"), ("trackers", "stream.tracking")])
def test_the_libraries_of_videos_are_imported_in_one_file(library: str, file: str) -> None:
    assert [name for name, tree in PARTS.items() if library in set(imports(tree))] == [file]


def test_torchvision_is_never_imported_at_the_start() -> None:
    """It takes longer than torch; core.postprocess loads its operators alone."""
    assert not [name for name, tree in PARTS.items() for found in imports(tree) if room(found) == "torchvision"]


def test_a_public_name_means_one_thing() -> None:
    """Each command has its `run`."""
    homes: dict[str, list[str]] = {}
    for name, tree in PARTS.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_") and node.name != "run":
                homes.setdefault(node.name, []).append(name)
    assert not {name: places for name, places in homes.items() if len(places) > 1}


def test_one_command_does_not_import_another() -> None:
    commands = {
        name for name, tree in TREES.items() if any(f.name == "run" for f in functions(tree)) and room(name) == "cli"
    }
    assert len(commands) >= 8
    for name in commands:
        assert not own_imports(TREES[name]) & commands


def test_only_the_command_line_speaks_and_reads_argv() -> None:
    speakers = {name for name in PARTS if room(name) == "cli"} | {"core.console", "__main__"}
    others = {name: tree for name, tree in PARTS.items() if name not in speakers}
    assert not [name for name, tree in others.items() if {"argparse", "getpass"} & set(imports(tree))]
    words = {"print", "input", "sys.argv", "sys.stdout", "sys.stderr", "sys.exit"}
    assert not [place for place, text in expressions(others) if text in words]


def test_nothing_is_evaluated_or_unpickled() -> None:
    unsafe = {"eval", "exec", "__import__", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"}
    assert not [place for place, text in expressions(PARTS) if text in unsafe]
    loads = [call for tree in PARTS.values() for call in calls(tree) if ast.unparse(call.func) == "torch.load"]
    assert loads
    for call in loads:
        assert {k.arg: ast.unparse(k.value) for k in call.keywords}.get("weights_only") == "True"


def test_no_drawers() -> None:
    assert not [name for name in PARTS if DRAWERS & set(name.split("."))]


def test_no_arguments_are_passed_through_unnamed() -> None:
    for name, tree in PARTS.items():
        for function in functions(tree):
            taken = function.args.kwarg.arg if function.args.kwarg else None
            passed = [ast.unparse(k.value) for call in calls(function) for k in call.keywords if k.arg is None]
            wraps = any("wraps(" in ast.unparse(decorator) for decorator in function.decorator_list)  # passes all on
            assert wraps or taken not in passed, f"{name}.{function.name} passes **{taken} on"


def test_files_and_functions_are_short() -> None:
    assert not [name for name, text in SOURCES.items() if len(text.splitlines()) > LONGEST_FILE]
    long = [
        f"{name}.{function.name}"
        for name, tree in TREES.items()
        for function in functions(tree)
        if (function.end_lineno or 0) - function.lineno >= LONGEST_FUNCTION
    ]
    assert not long


def test_every_file_and_public_name_says_what_it_is_for() -> None:
    silent = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        public = [n for n in tree.body if isinstance(n, Function | ast.ClassDef) and not n.name.startswith("_")]
        silent += [f"{name}.{n.name}" for n in public if not ast.get_docstring(n) and not _fields_are_documented(n)]
    assert not silent


def _fields_are_documented(node: ast.AST) -> bool:
    """The classes of settings have a line below every field instead."""
    if not isinstance(node, ast.ClassDef):
        return False
    fields = sum(isinstance(part, ast.AnnAssign) for part in node.body)
    lines = sum(isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in node.body)
    return fields > 0 and fields == lines
