"""Finds class names that differ only in letter case, spaces or Unicode form, and class ids all off by one."""

from collections.abc import Collection, Iterable

from rtmdet.core.paths import comparable


def name_key(name: str) -> str:
    """A key that such names share."""
    return comparable(" ".join(name.split()))


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Groups of two or more such names, in the order of their first names."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(name_key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def similar_name_remarks(names: Iterable[str]) -> list[str]:
    """One line about each such group."""
    return [
        f"the classes {', '.join(map(repr, group))} differ only in letter case or spaces: if they are the same, "
        "merge them with rtmdet data merge FILE --merge-similar --out OUT"
        for group in similar_names(names)
    ]


def id_shift(used: Collection[int], known: Collection[int]) -> int:
    """1 or -1 if the ids that objects use are that much higher than the `known` class ids, else 0."""
    for shift, unknown in ((1, max(known, default=0) + 1), (-1, min(known, default=0) - 1)):
        if unknown in used and {label - shift for label in used} <= {*known} and min(used) == min(known) + shift:
            return shift
    return 0


def shift_text(used: Collection[int], known: Collection[int], shift: int) -> str:
    """What is wrong with ids that have a shift, and what to do."""
    (first, last), (start, end) = ((min(ids), max(ids)) for ids in (used, known))
    remedy = f"{'subtract 1 from' if shift > 0 else 'add 1 to'} the class ids of all objects"
    return f"class ids run {first} .. {last}, but the classes are numbered {start} .. {end}: {remedy}"
