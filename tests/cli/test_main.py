"""The command line itself: quick help, exit codes, the scripts at the root, and `info`."""

import argparse
import configparser
import errno
import io
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType

import pytest
from usual_signal import usual_signal

import rtmdet
from rtmdet.cli.info import describe_facts
from rtmdet.cli.main import PACKAGES, main, run_command
from rtmdet.cli.parser import COMMANDS, build_parser
from rtmdet.config.file import SETTINGS
from rtmdet.config.other_names import OTHER_NAMES
from rtmdet.core.facts import ModelFacts
from rtmdet.models.zoo import SIZES, WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "numpy", "cv2", "yaml", "matplotlib", "albumentations"}
Command = Callable[..., CompletedProcess[str]]

LIST_MODULES = """
import runpy, sys
sys.argv = ["rtmdet", *sys.argv[1:]]
try:
    runpy.run_module("rtmdet.cli.main", run_name="__main__")
except SystemExit as stopped:
    print("code", stopped.code)
print(*sys.modules)
"""


def python(*arguments: str) -> CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["infer", "--help"], ["data", "convert", "-h"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    result = python("-c", LIST_MODULES, *words)
    *text, code, modules = result.stdout.splitlines()
    assert (result.stderr, code) == ("", "code 0")
    assert text[0].startswith("usage: rtmdet")
    assert "argparse" in modules.split()
    assert not HEAVY & set(modules.split())


def test_import_of_the_package_is_light() -> None:
    result = python("-c", "import rtmdet, sys; print(*sys.modules)")
    assert "rtmdet" in result.stdout.split()
    assert not HEAVY & set(result.stdout.split())
    result = python("-c", "import rtmdet; rtmdet.Detectro")
    assert "module 'rtmdet' has no attribute 'Detectro'" in result.stderr
    with pytest.raises(ImportError, match=r"no DetInferencer, which is mmdet's: use rtmdet.Detector"):
        from rtmdet import DetInferencer  # noqa: F401


@pytest.mark.slow
def test_names_of_the_package_are_found_on_use() -> None:
    result = python("-c", "import rtmdet; print(*(getattr(rtmdet, name) for name in rtmdet.__all__))")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("script", ["train.py", "infer.py", "visualize.py"])
def test_scripts_are_doors_to_their_commands(script: str) -> None:
    result = python(script, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: rtmdet {script.removesuffix('.py')} ")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


@pytest.mark.parametrize(
    ("words", "module"),
    [
        *((name, {"check": "train"}.get(name, name)) for name in COMMANDS if name != "data"),
        ("data show", "data_show"),
        ("data check", "data_check"),
        *((f"data {action}", "data") for action in ("convert", "split", "merge", "export", "synthesize")),
    ],
)
def test_every_command_has_a_module_that_runs_it(monkeypatch: pytest.MonkeyPatch, words: str, module: str) -> None:
    monkeypatch.setattr(f"rtmdet.cli.{module}.run", lambda given: f"{given.command} run by {module}")
    command, _, action = words.partition(" ")
    given = argparse.Namespace(command=command, **({"action": action} if action else {}))
    assert run_command(given) == f"{command} run by {module}"


def test_every_option_is_explained() -> None:
    for parser in parsers(build_parser()):
        for action in parser._actions:
            assert action.help or action.choices or action.default is not None or action.nargs, action.dest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["infer"], "rtmdet infer: the following arguments are required: PATH: `rtmdet infer --help`"),
        (["data"], "rtmdet data: the following arguments are required: ACTION: `rtmdet data --help`"),
        (["infer", "a.jpg", "--batch", "x"], "rtmdet infer: argument --batch: invalid int value: 'x': `rtmdet infer"),
        (["export", "a.pth", "--format", "tflite"], "rtmdet export: argument --format: invalid choice: 'tflite' "),
    ],
)
def test_wrong_words_end_with_2_and_one_line(command: Command, words: list[str], said: str) -> None:
    result = command(*words)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {said}")
    assert line.endswith(f"`rtmdet {words[0]} --help` lists its options")


@pytest.mark.parametrize("word", ["val", "valid", "Validation"])
@pytest.mark.parametrize("words", ["evaluate a.pth", "export a.pth", "data convert yolo a --out=b"])
def test_splits_have_the_names_of_their_folders(words: str, word: str) -> None:
    assert build_parser().parse_args([*words.split(), "--split", word]).split == "val"


@pytest.mark.parametrize(
    ("words", "name", "values"),
    [
        ("infer a.jpg --save coco --save csv", "save", ["coco", "csv"]),
        ("infer a.jpg --classes cat --classes dog", "classes", ["cat", "dog"]),
        ("export a.pth --format onnx --format openvino", "format", ["onnx", "openvino"]),
        ("benchmark a.pth --input 320 --input 640", "input", [320, 640]),
        ("benchmark a.pth --batch 1 2 --batch 8", "batch", [1, 2, 8]),
    ],
)
def test_a_repeated_option_of_several_values_adds_to_them(words: str, name: str, values: list[object]) -> None:
    assert getattr(build_parser().parse_args(words.split()), name) == values


def test_options_of_several_values_add_to_them() -> None:
    for parser in parsers(build_parser()):
        for action in parser._actions:
            if action.option_strings and action.nargs in ("+", "*"):
                assert isinstance(action, argparse._ExtendAction), action.dest
                assert not action.default, f"{action.dest}: values are added to the default"


def test_nothing_asked_prints_the_help(command: Command) -> None:
    result = command()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == command("--help").stdout


def test_version(command: Command) -> None:
    result = command("--version")
    assert (result.returncode, result.stdout) == (0, f"rtmdet {rtmdet.__version__}\n")
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["metadata"]["version"] == rtmdet.__version__


def test_python_runs_the_package_like_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "rtmdet", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"rtmdet {rtmdet.__version__}\n"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("predict", "infer"),
        ("detect", "infer"),
        ("inferr", "infer"),
        ("val", "evaluate"),
        ("evalute", "evaluate"),
        ("trian", "train"),
        ("Train", "train"),
        ("visualise", "visualize"),
        ("track", "infer --track"),
    ],
)
def test_unknown_commands_get_the_nearest_one(command: Command, word: str, meant: str) -> None:
    result = command(word, "photo.jpg")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"error: {word}: no such command: did you mean {meant}? the commands are train, ")


def test_other_words_get_the_list(command: Command) -> None:
    for word in ("fly", "report"):
        expected = f"error: {word}: no such command: the commands are {', '.join(COMMANDS)}\n"
        assert command(word).stderr == expected
    (actions,) = [one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction)]
    assert tuple(actions.choices) == COMMANDS


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("train --data x --imgsz 320", "rtmdet train has no --imgsz (did you mean --set data.input_size=320?)"),
        ("train --data x --batch=4 y", "rtmdet train has no --batch (did you mean --set data.batch_size=4?), 'y'"),
        ("train --data x --seed", "rtmdet train has no --seed (did you mean --set train.seed=...?)"),
        ("check --data x --lr 1 --f 2", "rtmdet check has no --lr (did you mean --set train.learning_rate=1?), --f"),
        ("infer a.jpg --conf .3 --max_det 9", "rtmdet infer has no --conf (did you mean --score?), --max_det (did "
         "you mean --max-boxes?)"),
        ("infer a.jpg --output d", "rtmdet infer has no --output (did you mean --out?)"),
        ("data check x --imagse y", "rtmdet data check has no --imagse (did you mean --images?)"),
        ("info -x", "rtmdet info has no -x"),
        ("infer --source a.jpg", "rtmdet infer has no --source (did you mean PATH, without an option?)"),
        ("infer a.jpg --iou 1", "rtmdet infer has no --iou"),
        ("train --data x --lr -0.1", "rtmdet train has no --lr (did you mean --set train.learning_rate=-0.1?)"),
        ("train --data x --val-interval 5", "rtmdet train has no --val-interval (did you mean --set "
         "train.validate_every=5?)"),
        ("train --data x --optimizer SGD", "rtmdet train has no --optimizer (it is fixed; docs/changing-the-method"
         ".md shows how to change it in code)"),
        ("infer a.jpg --momentum .9", "rtmdet infer has no --momentum"),
        ("check --data x --fraction .1", "rtmdet check has no --fraction"),
        ("train --data x --resume-from a.pth", "rtmdet train has no --resume-from (did you mean --resume?)"),
        ("train data/x", "rtmdet train has no 'data/x' (did you mean --data data/x?)"),
    ],
)  # fmt: skip
def test_unknown_options_get_what_may_be_meant(capsys: pytest.CaptureFixture[str], words: str, text: str) -> None:
    assert main(words.split()) == 2
    command = text.partition(" has no")[0]
    assert capsys.readouterr().err == f"error: {text}: `{command} --help` lists its options\n"


def test_training_needs_data_or_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "check"):
        assert main([command]) == 2
        expected = f"error: {command}: expected --data FOLDER or --config FILE, found neither: give one of them\n"
        assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "words", ["train --config {}", "check --data {}", "train {}", "info {}", "data check x --config {}", "export {}"]
)
def test_a_python_configuration_is_named_as_such_and_not_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str
) -> None:
    path = tmp_path / "rtmdet_tiny.py"
    path.write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    assert main(words.format(path).split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}" in line
    assert "a Python configuration, as OpenMMLab uses" in line
    assert "docs/from-mmdet.md" in line
    assert not (tmp_path / "run").exists()


def test_hints_for_unknown_options_exist() -> None:
    actions = [action for parser in parsers(build_parser()) for action in parser._actions]
    known = {name for action in actions for name in (*action.option_strings, action.metavar)} | set(SETTINGS)
    assert {ours for options in OTHER_NAMES.values() for ours in options} <= known


@pytest.mark.parametrize(
    ("module", "package"), [("torch", "torch"), ("cv2", "opencv-python-headless"), ("yaml", "pyyaml")]
)
def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str, package: str
) -> None:
    def without(name: str) -> Callable[[argparse.Namespace], int]:
        def run(_: argparse.Namespace) -> int:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return run

    monkeypatch.setattr("rtmdet.cli.main.run_command", without(module))
    assert main(["info"]) == 2
    expected = f"error: this command needs the package {package}, which is missing: pip install {package}\n"
    assert capsys.readouterr().err == expected
    monkeypatch.setattr("rtmdet.cli.main.run_command", without("torch.mine"))
    with pytest.raises(ModuleNotFoundError):
        main(["info"])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (MemoryError("Unable to allocate\n9 GiB"), "Unable to allocate 9 GiB"),
        (RuntimeError("CUDA out of memory. Tried"), "CUDA out of memory. Tried"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you"),
            "DefaultCPUAllocator: can't allocate memory",
        ),
    ],
)
def test_too_little_memory_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, reason: str
) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("rtmdet.cli.info.run", fail)
    assert main(["info"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: not enough memory ({reason}")
    assert line.endswith("): close other programs, or give smaller batches, inputs or files")
    error.args = ("another fault",)
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError, match="another fault"):
            main(["info"])


def test_all_required_packages_are_known() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    required = {re.split("[><=]", line)[0] for line in settings["options"]["install_requires"].split()}
    assert set(PACKAGES.values()) == required


def test_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("rtmdet.cli.info.run", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"


class Closed(io.StringIO):
    """Standard output on Windows, after its reader has ended."""

    def flush(self) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    def fileno(self) -> int:
        return os.open(os.devnull, os.O_WRONLY)


@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), BlockingIOError(11, "Resource temporarily unavailable")]
)
def test_a_limit_of_processes_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("rtmdet.cli.info.run", fail)
    assert main(["info"]) == 2
    said = r"error: the system allows no more threads or processes \(.*\): allow more \(ulimit -u\), or set .*\n"
    assert re.fullmatch(said, capsys.readouterr().err)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes standard error")
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_without_standard_error_commands_work_and_faults_have_their_exit_code(tmp_path: Path, stderr: str) -> None:
    command = f"{sys.executable} -m rtmdet.cli.main infer {tmp_path / 'missing.jpg'} --weights missing.pth {stderr}"
    assert subprocess.run(command, shell=True, check=False).returncode == 2


@pytest.mark.parametrize("is_closed", [True, False])
def test_only_a_closed_output_ends_silently_on_windows(monkeypatch: pytest.MonkeyPatch, is_closed: bool) -> None:
    """It has no error of its own there: another fault of the same number must not vanish."""

    def fail(_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("rtmdet.cli.info.run", fail)
    monkeypatch.setattr(sys, "platform", "win32")
    if is_closed:
        monkeypatch.setattr(sys, "stdout", Closed())
        assert main(["info"]) == 1
    else:
        with pytest.raises(OSError, match="Invalid argument"):
            main(["info"])


def test_interrupt_while_a_command_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "rtmdet.cli.info", Stopped("rtmdet.cli.info"))
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_leave_no_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    """Before the training loop, which takes signals by itself, as while --minutes times its first steps."""

    number = getattr(signal, name)

    def terminated(_: argparse.Namespace) -> int:
        with tempfile.TemporaryDirectory(dir=tmp_path):
            os.kill(os.getpid(), number)
            time.sleep(10)
        raise AssertionError("the signal ends the command")

    monkeypatch.setattr("rtmdet.cli.info.run", terminated)
    before = usual_signal(number)
    assert main(["info"]) == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == f"stopped by {name}"
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) is before


class _Deaf:
    """A signal arrives while this is deleted, where Python discards exceptions."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)


def test_sigterm_is_heard_where_python_discards_exceptions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def deletes(_: argparse.Namespace) -> int:
        _Deaf()
        time.sleep(10)
        raise AssertionError("the signal ends the command")

    monkeypatch.setattr("rtmdet.cli.info.run", deletes)
    before = sys.unraisablehook
    assert main(["info"]) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
    assert sys.unraisablehook is before


def test_a_library_that_does_not_fit_into_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: argparse.Namespace) -> int:
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setattr("rtmdet.cli.info.run", fails)
    assert main(["info"]) == 2
    assert re.fullmatch(r"error: not enough memory \(libtorch_cpu.so: .*\): close .*\n", capsys.readouterr().err)


def test_a_home_that_cannot_be_written_is_no_noise(command: Command) -> None:
    """matplotlib takes a temporary folder, as it says in lines of its own."""
    assert command("info").returncode == 0
    logger = logging.getLogger("matplotlib")
    lines = ("mkdir -p failed for path %s: %s", "it is highly recommended to set the MPLCONFIGDIR", "another")
    kept = [bool(logger.filter(logger.makeRecord("", logging.WARNING, "", 0, line, (), None))) for line in lines]
    assert kept == [False, False, True]


def test_text_that_the_terminal_cannot_show_is_printed_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lone surrogate, as JSON and YAML may hold: fuzzing found it as a class name."""

    def says(_: argparse.Namespace) -> int:
        print("classes: \ud800")
        return 0

    monkeypatch.setattr("rtmdet.cli.info.run", says)
    assert main(["info"]) == 0
    assert capsys.readouterr().out == "classes: \\ud800\n"


@pytest.mark.parametrize(
    ("given", "turns"),
    [
        ({}, "1000"),
        ({"OMP_WAIT_POLICY": "passive"}, "1000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
        ({"GOMP_SPINCOUNT": "0"}, "0"),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], turns: str | None
) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    monkeypatch.setattr(os, "environ", environment | given)
    assert main(["info"]) == 0
    policy, found = map(os.environ.get, names)
    assert (policy, found) == (given.get("OMP_WAIT_POLICY", "passive"), turns)


def test_info_is_a_table_of_the_sizes(command: Command) -> None:
    result = command("info", "--input", 64)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[:1] and line.split()[0] in SIZES]
    assert [row[0] for row in rows] == list(SIZES)
    assert {row[0]: float(row[2]) for row in rows}["tiny"] == pytest.approx(4.88, abs=0.02)  # paper, table 2
    for name in WEIGHTS:
        assert name in result.stdout


def test_info_refuses_a_side_that_the_network_cannot_take(command: Command) -> None:
    result = command("info", "--input", 65)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: --input 65: expected a multiple of 32 pixels\n"


def test_info_of_a_file(checkpoint: Path, command: Command, tmp_path: Path) -> None:
    result = command("info", checkpoint)
    assert result.returncode == 0, result.stderr
    said = dict(line.split(maxsplit=1) for line in result.stdout.replace("batch norms", "norms").splitlines())
    assert said["file"] == f"{checkpoint}, a checkpoint of this package"
    assert said["model"].startswith("RTMDet-nano, 1.01 million parameters")
    assert (said["classes"], said["input"], said["thresholds"]) == ("1: balloon", "64 x 64 pixels", "not stated")
    assert said["NMS"] == "IoU 0.65"
    assert said["value"] == "range  0 .. 65535 of 16-bit images become black .. white"
    thermal = ModelFacts(("deer",), (64, 64), value_range=(300, 4000))
    assert ("value range", "300 .. 4000 of 16-bit images become black .. white") in describe_facts(thermal)
    assert command("info", tmp_path / "none.pth").returncode == 2


@pytest.mark.shared
def test_info_tells_weights_without_statistics(shared: Path, command: Command) -> None:
    said = [command("info", shared / "weights" / f"rtmdet_nano_person{end}.pth").stdout for end in ("", "_bn")]
    assert "batch norms  without running statistics (some exports drop them)" in said[0]
    assert "batch norms  with running statistics" in said[1]
    assert "classes      1: person" in said[1]
