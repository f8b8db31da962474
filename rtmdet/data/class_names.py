"""Names of classes that are probably one: alike but for letter case, spaces around them or Unicode form."""

from __future__ import annotations

from collections.abc import Iterable

from rtmdet.data.files import comparable


def name_key(name: str) -> str:
    """What names that are probably one have in common."""
    return comparable(" ".join(name.split()))


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Groups of two names and more that are probably one, in the order of their first ones."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(name_key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def similar_name_remarks(names: Iterable[str]) -> list[str]:
    """A line about each such group."""
    return [
        f"the classes {', '.join(map(repr, group))} differ in letter case or spaces only: if they are one, join them "
        "with rtmdet data merge FILE --merge-similar --out OUT"
        for group in similar_names(names)
    ]
