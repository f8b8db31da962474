"""Bounds what a file unfolds to: a few bytes can name the same list a billion times, or within itself."""

from itertools import chain

import yaml

from rtmdet.core.errors import InputError

MOST_PARTS = 1_000_000  # values, and each 64 letters of text, with everything counted as often as it is named
MOST_LEVELS = 100
_CONTAINERS = (dict, list, tuple, set, frozenset)


def check_unfolding(value: object, name: object) -> None:
    """Raise InputError for containers or YAML nodes that are too large or deep when written out, or hold themselves.

    `name` is that of the file.
    """
    if _parts(value, {}, 0, name) > MOST_PARTS:
        raise InputError(
            f"{name}: expected at most {MOST_PARTS} values, found more, as the same ones are named again and again: "
            "the file was not used"
        )


def _parts(value: object, known: dict[int, int], level: int, name: object) -> int:
    """How many parts a value has; `known` those of containers, by id."""
    if isinstance(value, yaml.Node):
        value = value.value  # texts, nodes and pairs of them
    if not isinstance(value, _CONTAINERS):
        return 1 + len(value) // 64 if isinstance(value, str | bytes) else 1
    if level > MOST_LEVELS:
        raise InputError(
            f"{name}: expected values at most {MOST_LEVELS} levels deep, found deeper ones, or one that holds "
            "itself: the file was not used"
        )
    if id(value) not in known:
        items = chain(value.keys(), value.values()) if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_parts(item, known, level + 1, name) for item in items)
    return known[id(value)]
