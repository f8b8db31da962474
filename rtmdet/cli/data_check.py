"""`rtmdet data check`: what is wrong with a data set, what training would make of it, and what helps."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from rtmdet.cli.finding_pictures import draw_finding
from rtmdet.config.file import load_config
from rtmdet.core.console import track
from rtmdet.core.errors import InputError
from rtmdet.data.coco.layout import find_coco, read_documents
from rtmdet.data.doctor.finding import SEVERITIES, Finding, Purpose, Source
from rtmdet.data.doctor.report import Report, Summary, check_data
from rtmdet.data.formats.faults import collect_faults
from rtmdet.data.formats.open import open_source
from rtmdet.data.formats.yolo_layout import find_layout
from rtmdet.data.json_file import write_json
from rtmdet.viz.draw import save_image
from rtmdet.weights.download import resolve
from rtmdet.weights.load import read_checkpoint

EXAMPLES = 3  # cases of a finding that the table names


def run(given: argparse.Namespace) -> int:
    """Print the findings; returns 1 where training would stop, be misled or suffer, else 0."""
    purpose = read_purpose(given.config, given.weights, given.input)
    with TemporaryDirectory() as folder:  # for annotations of other formats
        with collect_faults() as faults:
            try:
                sources = read_sources(given.annotations, given.images, given.config, Path(folder))
            except InputError:  # what is left of so many faults may be nothing
                for fault in dict.fromkeys(faults):
                    print(fault.text)
                raise
        sources = with_validation(sources, given.val_annotations, given.val_images)
        report = check_data(sources, purpose, faults=list(dict.fromkeys(faults)), decode=given.decode, watch=track)
    for source, summary in zip(sources, report.summaries, strict=True):
        print(describe(source, summary, purpose))
    for finding in report.findings:
        print(format_finding(finding))
    print(conclude(report))
    if given.json is not None:
        write_json(given.json, plain(report, sources, purpose), indent=2)
        print(f"findings: {given.json}")
    if given.out is not None:
        draw_report(report, given.out)
    return int(report.harmful)


def read_sources(annotations: Path | None, images: Path | None, config: Path | None, folder: Path) -> list[Source]:
    """The splits that the options, the configuration or the data set itself name.

    Annotations of other formats become COCO files in `folder`. Raises InputError where nothing is named.
    """
    if annotations is not None:
        return find_sources(annotations, folder) if images is None else [Source("train", annotations, images)]
    if config is None or images is not None:
        raise InputError("expected a data set, or --config alone with the paths of one; give --help to see how")
    data = load_config(config).data
    return [
        Source(name, Path(one.annotations), Path(one.images))
        for name, one in (("train", data.train), ("val", data.val))
    ]


def with_validation(sources: list[Source], annotations: Path | None, images: Path | None) -> list[Source]:
    """The first of the sources, with the validation split that the options name; all of them where none is named."""
    if annotations is None and images is None:
        return sources
    if annotations is None or images is None:
        raise InputError("--val-annotations and --val-images: expected both or neither; give the other one too")
    return [sources[0], Source("val", annotations, images)]


def find_sources(path: Path, folder: Path) -> list[Source]:
    """The splits of a data set in any known layout; COCO files are taken as they are, with all their faults."""
    if path.exists() and find_layout(path) is None and (coco := find_coco(path, dict(read_documents(path)))):
        return [Source(name, file, images) for name, (file, images) in coco.items()]
    source = open_source(path)
    print(f"{path} is {source.format}")
    for remark in (remark for split in source.splits.values() for remark in split.remarks):
        print(remark)
    for name, split in source.splits.items():
        write_json(folder / f"{name}.json", split.coco)
    return [Source(name, folder / f"{name}.json", split.images, path) for name, split in source.splits.items()]


def read_purpose(config: Path | None, weights: str | None, side: int | None) -> Purpose:
    """What the data are for, by the configuration or the checkpoint; a given side of the input goes before both."""
    if side is not None and (side < 64 or side % 32):
        raise InputError(f"--input: expected a multiple of 32, at least 64, found {side}; give such a side")
    given = None if side is None else (side, side)
    if config is not None:
        data = load_config(config).data
        return Purpose(
            input_size=given or data.input_size,
            classes=data.classes,
            keep_empty=data.keep_empty,
            repeat_threshold=data.repeat_threshold,
        )
    default = Purpose().input_size
    if weights is None:
        return Purpose(input_size=given or default)
    checkpoint = read_checkpoint(resolve(weights, progress=True))
    if checkpoint.classes is None:
        raise InputError(f"{weights}: the checkpoint names no classes to compare with; leave --weights out")
    return Purpose(
        input_size=given or checkpoint.trained_size or checkpoint.input_size or default,
        known_classes=tuple(checkpoint.classes),
    )


def describe(source: Source, summary: Summary, purpose: Purpose) -> str:
    """A split in numbers."""
    height, width = purpose.input_size
    verb = "training keeps" if summary.split == "train" else "the evaluation takes"
    sides = ", ".join(f"{name} {share:.1%}" for name, share in summary.shorter_sides.items())
    classes = "1 class" if len(summary.classes) == 1 else f"{len(summary.classes)} classes"
    lines = [
        f"{summary.split}: {source.origin or source.annotations}",
        f"    {summary.images} images, {summary.objects} objects, {classes}; "
        f"{verb} {summary.kept_images} images, {summary.kept_objects} objects",
        f"    shorter side of the boxes at {width} x {height}: {sides}",
    ]
    if summary.aspect_ratios:
        low, middle, high = summary.aspect_ratios
        lines.append(f"    width / height of the boxes: {middle:.2f} in the middle, 90% in {low:.2f} .. {high:.2f}")
    return "\n".join(lines)


def format_finding(finding: Finding) -> str:
    """Severity, split and number, then the first cases and the advice on lines of their own."""
    examples = [item.text for item in finding.items[:EXAMPLES]]
    more = len(finding.items) - len(examples)
    indent = "\n" + " " * 24
    head = f"{finding.severity:<8} {finding.split:<5} {len(finding.items):>7}  {finding.message} ({finding.code})"
    return indent.join([head, *examples, *([f"... and {more} more"] if more else []), f"-> {finding.advice}"])


def conclude(report: Report) -> str:
    """The last line: how many findings of each severity, and what follows."""
    numbers = Counter(finding.severity for finding in report.findings)
    counts = ", ".join(f"{numbers[severity]} {severity}{'s' * (numbers[severity] != 1)}" for severity in SEVERITIES)
    if numbers["error"]:
        return f"{counts}: training would stop or be misled"
    return f"{counts}: training would {'suffer' if report.harmful else 'run well on these data'}"


def plain(report: Report, sources: Sequence[Source], purpose: Purpose) -> dict[str, object]:
    """The report as JSON can hold it."""
    findings = [
        {
            **asdict(finding),
            "count": len(finding.items),
            "items": [_plain_item(item) for item in map(asdict, finding.items)],
        }
        for finding in report.findings
    ]
    splits = [
        {**asdict(summary), "annotations": str(source.origin or source.annotations), "folder": str(source.images)}
        for summary, source in zip(report.summaries, sources, strict=True)
    ]
    return {
        "harmful": report.harmful,
        "input_size": list(purpose.input_size),
        "splits": splits,
        "findings": findings,
    }


def _plain_item(item: dict[str, object]) -> dict[str, object]:
    files = item["files"]
    assert isinstance(files, tuple)
    return {**item, "files": [str(path) for path in files]}


def draw_report(report: Report, folder: Path) -> None:
    """A picture of every finding that can be drawn; those of an earlier report go."""
    for severity in SEVERITIES:
        for old in folder.glob(f"{severity}_*_*.png"):
            old.unlink()
    for finding in report.findings:
        picture = draw_finding(finding)
        if picture is not None:
            path = folder / f"{finding.severity}_{finding.split}_{finding.code}.png"
            save_image(path, picture)
            print(path)
