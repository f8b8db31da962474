"""Files that would run code where they were read carelessly: each tries to create the canary file."""

import builtins
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch

CANARY = "canary"  # in the case's folder, which is the working directory


class Bomb:
    """Pickles as a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable, tuple[object, ...]]:
        return self.call


BOMBS = (
    Bomb(os.system, f"touch {CANARY}"),
    Bomb(subprocess.check_output, ["touch", CANARY]),
    Bomb(builtins.exec, f"open({CANARY!r}, 'w')"),
    Bomb(builtins.eval, f"open({CANARY!r}, 'w')"),
    Bomb(builtins.open, CANARY, "w"),
    Bomb(Path.touch, Path(CANARY)),
    Bomb(getattr, os, "system"),
    Bomb(builtins.__import__, "antigravity"),
)
TAGS = (
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"!!python/object/apply:builtins.open [{CANARY}, w]",
    f"!!python/object/new:subprocess.Popen [[touch, {CANARY}]]",
    "!!python/name:os.system",
    "!!python/module:antigravity",
    "!canary x",
)


def write_hostile(path: Path, content: dict, random: Random) -> None:
    """A checkpoint with a bomb in one of its parts, by one of the ways that torch and pickle write."""
    bomb = random.choice([bomb for bomb in BOMBS if not isinstance(bomb.call[1][0], type(os))])
    place = random.choice(("state_dict", "meta", "training", "optimizer"))
    hidden = {**content, place: random.choice((bomb, [bomb], {"x": bomb}, {"x": [1, (bomb,)]}))}
    match random.randrange(4):
        case 0:
            path.write_bytes(pickle.dumps(hidden, protocol=random.choice((0, 2, 4))))
        case 1:
            torch.save(bomb, path)
        case number:
            torch.save(hidden, path, _use_new_zipfile_serialization=number == 2)
