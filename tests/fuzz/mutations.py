"""Damage to trees of plain values and to bytes; everything that is chosen comes from the given generator."""

import json
from collections.abc import Callable
from random import Random

Parent = dict | list
Place = tuple[Parent, str | int]

NUMBERS = (0, -1, 1, 2**31, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e11, 1e38, 1e308, -1e308)
NOT_NUMBERS = (float("nan"), float("inf"), float("-inf"))
TEXTS = (
    "",
    " ",
    "\0",
    "a\nb",
    "a\rb",
    "\u2028",
    "\ud800",
    "ÅŁ中\U0001f388",
    "\u202e",
    "x" * 5000,
    "../a",
    "%s{}",
    "1",
)
VALUES = (None, True, False, [], {}, [[]], {"a": None}, [None], [1, [2, [3]]])
DEPTHS = (30, 400, 900, 3000, 100_000)
DEEP = "@deep {} deep@"  # stands for lists within lists, which json.dumps and yaml.dump could not write
SPECIAL_BYTES = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\r\n",
    b"\t",
    b'"',
    b"{",
    b"]",
    b"- ",
    b"&a *a",
    b"<!--",
)


def damage_tree(tree: Parent, random: Random) -> None:
    """Change a tree at one to four places, in place: drop, double, retype, rename, nest, exchange."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if found := places(tree):
            parent, key = random.choice(found)
            random.choice(CHANGES)(parent, key, random)


def places(tree: object) -> list[Place]:
    """Every item of every dict and list."""
    found: list[Place] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            waiting.append(node[key])
    return found


def _drop(parent: Parent, key: str | int, _: Random) -> None:
    del parent[key]


def _double(parent: Parent, key: str | int, random: Random) -> None:
    if isinstance(parent, list):
        parent.insert(random.randrange(len(parent) + 1), parent[key])
    else:
        parent[f"{key}{random.choice(('', 's', '2'))}"] = parent[key]


def _number(parent: Parent, key: str | int, random: Random) -> None:
    parent[key] = random.choice((random.choice(NUMBERS), random.choice(NOT_NUMBERS), random.randint(-100, 100)))


def _text(parent: Parent, key: str | int, random: Random) -> None:
    parent[key] = random.choice(TEXTS)


def _value(parent: Parent, key: str | int, random: Random) -> None:
    parent[key] = json.loads(json.dumps(random.choice(VALUES)))  # a copy: later changes stay in this case


def _retype(parent: Parent, key: str | int, random: Random) -> None:
    value = parent[key]
    parent[key] = random.choice((str(value), [value], {"value": value}, value is None))


def _rename(parent: Parent, key: str | int, random: Random) -> None:
    if isinstance(parent, dict):
        parent[random.choice(TEXTS)] = parent.pop(key)


def _exchange(parent: Parent, key: str | int, random: Random) -> None:
    other = random.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    parent[key], parent[other] = parent[other], parent[key]


def _nest(parent: Parent, key: str | int, random: Random) -> None:
    parent[key] = DEEP.format(random.choice(DEPTHS))


CHANGES: tuple[Callable[[Parent, str | int, Random], None], ...] = (
    _drop,
    _double,
    _number,
    _number,
    _text,
    _value,
    _retype,
    _rename,
    _exchange,
    _nest,
)


def write_out_nests(text: str) -> str:
    """Put lists within lists where `damage_tree` left word of them."""
    for depth in DEPTHS:
        for quote in ('"', "'", ""):
            text = text.replace(f"{quote}{DEEP.format(depth)}{quote}", "[" * depth + "]" * depth)
    return text


def damage_bytes(data: bytes, random: Random) -> bytes:
    """Cut, flip, insert, repeat, take out or zero at one to eight places."""
    for _ in range(random.choice((1, 1, 2, 8))):
        start = random.choice((random.randrange(len(data) + 1), min(random.randrange(64), len(data))))
        end = min(start + random.choice((1, 4, 30, 300)), len(data))
        match random.randrange(7):
            case 0:
                data = data[:start]
            case 1 if start < len(data):
                data = data[:start] + bytes([data[start] ^ 1 << random.randrange(8)]) + data[start + 1 :]
            case 2:
                data = data[:start] + random.randbytes(end - start) + data[end:]
            case 3:
                data = data[:start] + random.choice(SPECIAL_BYTES) + data[start:]
            case 4:
                data = data[:end] + data[start:]
            case 5:
                data = data[:start] + data[end:]
            case 6:
                data = data[:start] + bytes(end - start) + data[end:]
    return data
