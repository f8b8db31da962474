"""Finds class names that probably mean one class: they differ only in letter case, spaces or Unicode form."""

from collections.abc import Iterable

from rtmdet.data.files import comparable


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
