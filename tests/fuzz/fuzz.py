"""Damaged files through the commands: each must end with code 0, 1 or 2, the last with one clear line.

python tests/fuzz/fuzz.py --cases 500 --seed 0 --minutes 10 --kind all
Case i of a kind is a pure function of the seed and i. Cases run in a child process; one that hangs or dies is
named, and a new child goes on after it. Exit code 1 where a case failed; --first I --cases 1 runs one again.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from child import run_cases
from material import write_material

KINDS = ("coco", "yolo", "voc", "yaml", "image", "checkpoint")
CASE_LIMIT = 30.0  # seconds
START_LIMIT = 60.0  # seconds until the first case begins: imports
POLL = 0.02  # seconds
FORKS = multiprocessing.get_context("forkserver")  # its server imports what takes seconds, once for all children


@dataclass
class Outcome:
    """What became of the cases of one kind."""

    codes: Counter[int] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)  # case -> what is wrong
    slowest: float = 0.0  # seconds

    @property
    def cases(self) -> int:
        """Finished, killed and crashed ones."""
        return self.codes.total() + len(self.failures)


def run_kind(work: Path, kind: str, *, seed: int, cases: range, until: float) -> Outcome:
    """Run cases of one kind, with a new child after each that dies, until the clock `time.monotonic` says so."""
    outcome, first = Outcome(), cases.start
    while first < cases.stop and time.monotonic() < until:
        first = _run_child(work, kind, seed, range(first, cases.stop), until, outcome)
    return outcome


def _run_child(work: Path, kind: str, seed: int, cases: range, until: float, outcome: Outcome) -> int:
    """One child's life; returns the case to go on with."""
    journal = work / f"{kind}-{cases.start}.journal"
    journal.touch()
    child = FORKS.Process(target=run_cases, args=(work, journal, kind, seed, cases))
    child.start()
    current, since, limit = None, time.monotonic(), START_LIMIT
    with journal.open() as lines:
        try:
            while True:
                ended = child.exitcode is not None
                for line in iter(lines.readline, ""):
                    event, since, limit = json.loads(line), time.monotonic(), CASE_LIMIT
                    current = event.get("begin")
                    if current is None:
                        _note(outcome, event)
                now = time.monotonic()
                if ended:
                    return cases.stop if child.exitcode == 0 else _lost(outcome, current, f"died: {child.exitcode}")
                if now - since > limit:
                    return _lost(outcome, current, f"no end after {limit:.0f} s")
                if now > until:
                    return cases.stop
                time.sleep(POLL)
        finally:
            child.kill()
            child.join()


def _note(outcome: Outcome, event: dict) -> None:
    outcome.slowest = max(outcome.slowest, event["seconds"])
    if event["fault"]:
        outcome.failures[event["end"]] = event["fault"]
    else:
        outcome.codes[event["code"]] += 1


def _lost(outcome: Outcome, case: int | None, why: str) -> int:
    if case is None:
        raise RuntimeError(f"the child process did not get to a case: {why}")
    outcome.failures[case] = why
    return case + 1


def table(outcomes: dict[str, Outcome]) -> str:
    """Cases of each kind by exit code, and how many failed."""
    lines = [f"{'kind':<12}{'cases':>7}{'code 0':>8}{'code 1':>8}{'code 2':>8}{'failed':>8}{'slowest':>10}"]
    for kind, outcome in outcomes.items():
        codes = "".join(f"{outcome.codes[code]:>8}" for code in (0, 1, 2))
        lines.append(f"{kind:<12}{outcome.cases:>7}{codes}{len(outcome.failures):>8}{outcome.slowest:>8.1f} s")
    return "\n".join(lines)


def fuzz(work: Path, kinds: Sequence[str], *, seed: int, cases: range, minutes: float) -> dict[str, Outcome]:
    """Run the cases of each kind in `work`, a folder that is filled first; each kind has its share of the time."""
    write_material(work)
    end = time.monotonic() + 60 * minutes
    outcomes = {}
    for place, kind in enumerate(kinds):
        now = time.monotonic()
        until = now + (end - now) / (len(kinds) - place)
        outcomes[kind] = run_kind(work, kind, seed=seed, cases=cases, until=until)
    return outcomes


def main(words: Sequence[str] | None = None) -> int:
    """Run, print the table and the failing cases; 1 where there are some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100, help="of each kind (default 100)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default 0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10, help="most time, all kinds together (default 10)")
    parser.add_argument("--kind", choices=(*KINDS, "all"), default="all")
    parser.add_argument("--work", type=Path, help="folder to work in; failing cases stay there (default: a new one)")
    arguments = parser.parse_args(words)
    kinds = KINDS if arguments.kind == "all" else (arguments.kind,)
    work = (arguments.work or Path(tempfile.mkdtemp(prefix="fuzz-"))).resolve()
    cases = range(arguments.first, arguments.first + arguments.cases)
    outcomes = fuzz(work, kinds, seed=arguments.seed, cases=cases, minutes=arguments.minutes)
    print(table(outcomes))
    for kind, outcome in outcomes.items():
        for case, why in outcome.failures.items():
            print(f"{kind} {case}: {why}; again: --kind {kind} --seed {arguments.seed} --first {case} --cases 1")
    print(f"folders of failing cases: {work / 'cases'}")
    return int(any(outcome.failures for outcome in outcomes.values()))


if __name__ == "__main__":
    FORKS.set_forkserver_preload(["rtmdet.runs.train", "torch._dynamo"])
    sys.exit(main())
