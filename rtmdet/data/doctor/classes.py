"""Class names and their order: against a configuration, a checkpoint and the other split; and rare classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rtmdet.data.class_names import similar_names
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding, Item, Purpose

RARE = 0.1  # a class is rare that so few images show, compared with the most frequent class


def class_names(file: AnnotationFile) -> tuple[str, ...]:
    """The names in the order that labels have where no configuration names them."""
    return tuple(category["name"] for category in file.categories.values())


def wanted_categories(file: AnnotationFile, purpose: Purpose) -> set[int]:
    """The category ids to learn."""
    names = set(class_names(file) if purpose.classes is None else purpose.classes)
    return {identifier for identifier, category in file.categories.items() if category["name"] in names}


def find_class_differences(file: AnnotationFile, purpose: Purpose) -> Iterator[Finding]:
    """The file's classes against those of the configuration and of the checkpoint, and against each other."""
    groups = similar_names(class_names(file))
    items = tuple(Item(" and ".join(map(repr, group))) for group in groups)
    message, advice = "classes that differ in letter case or spaces only", "join them: data merge --merge-similar"
    yield Finding("warning", "similar-class", file.source.name, message, advice, items)
    if purpose.classes is not None:
        yield from _find_unconfigured(file, purpose.classes)
    if purpose.known_classes is not None and file.source.name == "train":
        yield from _find_unknown_to_checkpoint(file, purpose.known_classes)


def find_unshared_classes(files: Sequence[AnnotationFile], purpose: Purpose) -> Iterator[Finding]:
    """Classes that only one of the splits has; they are joined by name."""
    first, *others = files
    if purpose.classes is not None:
        return
    learned = class_names(first)
    for file in others:
        measured = class_names(file)
        missing = tuple(Item(repr(name)) for name in learned if name not in measured)
        more = tuple(Item(repr(name)) for name in measured if name not in learned)
        name, owner = file.source.name, first.source.name
        common = bool(set(learned) & set(measured))
        advice = "nothing is measured of them: put images of them here too" if common else "write the names alike"
        message = f"classes of {owner} that the file does not have"
        yield Finding("hint" if common else "error", "missing-class", name, message, advice, missing)
        advice = f"their objects are left out: put images of them into {owner}, too, or write the names alike"
        yield Finding("warning", "unlearned-class", name, f"classes that {owner} does not have", advice, more)


def find_rare_classes(file: AnnotationFile, wanted: set[int], purpose: Purpose) -> Iterator[Finding]:
    """Classes that few images show, with the threshold that shows them more often."""
    images: defaultdict[int, set[int]] = defaultdict(set)
    for annotation in file.annotations:
        if annotation["category_id"] in wanted and not annotation["iscrowd"]:
            images[annotation["category_id"]].add(annotation["image_id"])
    most = max(map(len, images.values()), default=0)
    threshold = max(RARE * most / max(len(file.images), 1), 0.001)
    items = tuple(
        Item(f"{file.categories[identifier]['name']!r}: {len(found)} of {len(file.images)} images")
        for identifier, found in sorted(images.items(), key=lambda pair: len(pair[1]))
        if len(found) < RARE * most
    )
    if purpose.repeat_threshold:
        advice = f"data.repeat_threshold is {purpose.repeat_threshold:g} already: look at their AP"
    else:
        advice = f"data.repeat_threshold={threshold:.3f} shows them more often"
    yield Finding("hint", "rare-class", file.source.name, "classes that few images show", advice, items)


def _find_unconfigured(file: AnnotationFile, wanted: tuple[str, ...]) -> Iterator[Finding]:
    names = class_names(file)
    missing = tuple(Item(repr(name)) for name in wanted if name not in names)
    advice = f"write data.classes as the file does: {', '.join(names)}"
    message = "classes of the configuration that the file does not have"
    stops = file.source.name == "train" or len(missing) == len(wanted)
    yield Finding("error" if stops else "hint", "unknown-class", file.source.name, message, advice, missing)
    kept = tuple(name for name in names if name in wanted)
    items = () if missing else _differences(wanted, kept, "data.classes")
    advice = "nothing here: labels follow data.classes; give the same list to tools that go by category ids"
    yield Finding("hint", "class-order", file.source.name, "classes in another order", advice, items)


def _find_unknown_to_checkpoint(file: AnnotationFile, known: tuple[str, ...]) -> Iterator[Finding]:
    """Classes of the same name go on with what was learned; without any, as many classes go on by their place."""
    names = class_names(file)
    items = tuple(Item(repr(name)) for name in names if name not in known)
    if set(known) & set(names):
        advice = "nothing: they begin anew, classes of the same name go on with what was learned of them"
    elif len(known) == len(names):
        advice = f"nothing, if they look like {', '.join(known[:3])}: they go on as these, in order"
    else:
        advice = "nothing: the layers that predict the classes begin anew"
    message = "classes that the checkpoint does not know"
    yield Finding("hint", "checkpoint-classes", file.source.name, message, advice, items)


def _differences(expected: tuple[str, ...], found: tuple[str, ...], owner: str) -> tuple[Item, ...]:
    """The places where two lists of names differ."""
    length = max(len(expected), len(found))
    left, right = (list(names) + [None] * (length - len(names)) for names in (expected, found))
    return tuple(
        Item(f"{place}: {'nothing' if b is None else repr(b)}, {owner} has {'nothing' if a is None else repr(a)}")
        for place, (a, b) in enumerate(zip(left, right, strict=True))
        if a != b
    )
