"""Class names and their order, compared with a configuration, a checkpoint and the other split; and rare classes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rtmdet.data.class_names import similar_names
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding, Item, Purpose

RARE = 0.1  # a class is rare if fewer images show it than this fraction of those of the most frequent class


def names_by_label(file: AnnotationFile) -> tuple[str, ...]:
    """The names in the order of the labels when no configuration lists the classes."""
    return tuple(category["name"] for category in file.categories.values())


def wanted_categories(file: AnnotationFile, purpose: Purpose) -> set[int]:
    """The category ids to learn."""
    names = set(names_by_label(file) if purpose.classes is None else purpose.classes)
    return {identifier for identifier, category in file.categories.items() if category["name"] in names}


def find_class_differences(file: AnnotationFile, purpose: Purpose) -> Iterator[Finding]:
    """Compares the file's classes with each other and with those of the configuration and of the checkpoint."""
    similar = [Item(" and ".join(map(repr, group))) for group in similar_names(names_by_label(file))]
    message = "classes that differ only in letter case or spaces"
    yield file.finding("warning", "similar-class", message, "merge them: rtmdet data merge --merge-similar", similar)
    if purpose.classes is not None:
        yield from _find_unconfigured(file, purpose.classes)
    if purpose.known_classes is not None and file.source.name == "train":
        yield _find_unknown_to_checkpoint(file, purpose.known_classes)


def find_unshared_classes(files: Sequence[AnnotationFile], purpose: Purpose) -> Iterator[Finding]:
    """Classes that only one of the splits has, matched by name."""
    if purpose.classes is not None:
        return
    first, *others = files
    learned, owner = names_by_label(first), first.source.name
    for file in others:
        measured = names_by_label(file)
        missing = [Item(repr(name)) for name in learned if name not in measured]
        more = [Item(repr(name)) for name in measured if name not in learned]
        common = bool(set(learned) & set(measured))
        advice = "their AP cannot be measured: add images of them" if common else "use the same names in both files"
        message = f"classes of {owner} that {file.source.name} lacks"
        yield file.finding("hint" if common else "error", "missing-class", message, advice, missing)
        advice = f"their objects are skipped: add images of them to {owner}, or use the same names in both files"
        yield file.finding("warning", "unlearned-class", f"classes that {owner} lacks", advice, more)


def find_rare_classes(file: AnnotationFile, wanted: set[int], purpose: Purpose) -> Finding:
    """Classes that few images show, with a threshold to oversample them."""
    images: defaultdict[int, set[int]] = defaultdict(set)
    for annotation in file.annotations:
        if annotation["category_id"] in wanted and not annotation["iscrowd"]:
            images[annotation["category_id"]].add(annotation["image_id"])
    most = max(map(len, images.values()), default=0)
    threshold = max(RARE * most / max(len(file.images), 1), 0.001)
    rare = [
        Item(f"{file.categories[identifier]['name']!r}: {len(found)} of {len(file.images)} images")
        for identifier, found in sorted(images.items(), key=lambda pair: len(pair[1]))
        if len(found) < RARE * most
    ]
    if purpose.repeat_threshold:
        advice = f"data.repeat_threshold={purpose.repeat_threshold:g} oversamples them already: watch their AP"
    else:
        advice = f"data.repeat_threshold={threshold:.3f} oversamples their images"
    return file.finding("hint", "rare-class", "rare classes", advice, rare)


def _find_unconfigured(file: AnnotationFile, wanted: tuple[str, ...]) -> Iterator[Finding]:
    names = names_by_label(file)
    missing = [Item(repr(name)) for name in wanted if name not in names]
    stops = file.source.name == "train" or len(missing) == len(wanted)
    message = f"classes of data.classes that {file.source.name} lacks"
    advice = f"write data.classes like the file: {', '.join(names)}"
    yield file.finding("error" if stops else "hint", "unknown-class", message, advice, missing)
    kept = [name for name in names if name in wanted]  # as many as are wanted, unless some are missing
    moved = [
        Item(f"{index}: {found!r}, data.classes has {name!r}")
        for index, (name, found) in enumerate(zip(wanted, kept, strict=False))
        if name != found
    ]
    advice = "no action needed: labels follow data.classes; give that list to tools that use category ids"
    message = "classes in another order than data.classes"
    yield file.finding("hint", "class-order", message, advice, () if missing else moved)


def _find_unknown_to_checkpoint(file: AnnotationFile, known: tuple[str, ...]) -> Finding:
    """Classes that the checkpoint lacks. Equal names keep their weights; if none is equal, equally many keep them in
    order."""
    names = names_by_label(file)
    if set(known) & set(names):
        advice = "no action needed: they start from scratch, classes known by name keep their weights"
    elif len(known) == len(names):
        advice = f"no action needed if they resemble {', '.join(known[:3])}: they start from their weights, in order"
    else:
        advice = "no action needed: the class-prediction layers start from scratch"
    items = (Item(repr(name)) for name in names if name not in known)
    return file.finding("hint", "checkpoint-classes", "classes unknown to the checkpoint", advice, items)
