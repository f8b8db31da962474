"""Runs cases one after another, with a line in the journal before and after each.

The journal tells the parent which case hangs or dies.
"""

import json
import os
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path

import torch
from cases import prepare
from hostile import CANARY

from rtmdet.cli.main import main

MEMORY = 12 << 30  # bytes of address space: a file that asks for more fails here instead of filling the machine


def run_cases(work: Path, journal: Path, kind: str, seed: int, numbers: range) -> None:
    """Run the cases of one kind, in a process of their own; the folders of those that fail stay."""
    no_weights = {"TORCH_HOME": str(work / "no weights here"), "https_proxy": "http://127.0.0.1:9"}
    os.environ.update(no_weights)  # nothing is fetched, whatever a damaged file names
    torch.set_num_threads(1)
    with (work / "child").open("a") as errors:
        os.dup2(errors.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with journal.open("a") as file:
        for number in numbers:
            print(json.dumps({"begin": number}), file=file, flush=True)
            folder = work / "cases" / f"{kind}-{seed}-{number}"
            began = time.perf_counter()
            code, fault = run_case(work, folder, kind, seed, number)
            seconds = round(time.perf_counter() - began, 3)
            print(
                json.dumps({"end": number, "code": code, "fault": fault, "seconds": seconds}), file=file, flush=True
            )


def run_case(work: Path, folder: Path, kind: str, seed: int, number: int) -> tuple[int, str]:
    """Exit code and fault (empty: none) of one case."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work / "data", folder)
    argv = prepare(kind, folder, work / "nano.pth", seed, number)
    (folder / "argv.json").write_text(json.dumps(argv))
    os.chdir(folder)
    code, raised, error = call(argv, folder)
    fault = judge(code, raised, error)
    if (folder / CANARY).exists():
        fault = "code of the file was run"
    os.chdir(work)
    if not fault:
        shutil.rmtree(folder)
    return code, fault


def call(argv: list[str], folder: Path) -> tuple[int, str, str]:
    """Exit code, what was raised, and stderr, that of C libraries included."""
    streams = [sys.stdout, sys.stderr]
    kept = [os.dup(number) for number in (1, 2)]
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    code, raised = -1, ""
    try:
        code = main(argv)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:
        raised = traceback.format_exc()
    finally:
        for stream, number, old in zip(streams, (1, 2), kept, strict=True):
            stream.flush()
            os.dup2(old, number)
            os.close(old)
    (folder / "raised").write_text(raised, errors="backslashreplace")
    return code, raised, (folder / "stderr").read_text(errors="replace")


def judge(code: int, raised: str, error: str) -> str:
    """What is wrong with how a command ended; empty where nothing is."""
    if raised:
        last = raised.strip().splitlines()
        place = next((line.strip() for line in reversed(last) if "/rtmdet/" in line), "")
        return f"{last[-1][:100]} [{place[place.rfind('/rtmdet/') + 1 :]}]"
    if "Traceback" in error:
        return "a traceback on stderr"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    lines = error.replace("\r", "\n").split("\n")  # libpng's remark may stand above: it writes past Python
    errors = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    if code == 2:
        if not errors:
            return "code 2 without an error line"
        if any(lines[errors[0] + 1 :]):
            return "the error is not one line"
    return ""
