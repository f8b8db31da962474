"""`rtmdet data check`: what is wrong with a data set, how it affects training, and how to repair it."""

import argparse
from dataclasses import asdict
from itertools import product
from pathlib import Path

from rtmdet.cli.finding_pictures import draw_finding
from rtmdet.config.file import load_config
from rtmdet.core.console import progress
from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import check_output, write_json
from rtmdet.core.whole_file import remove_file
from rtmdet.data.doctor.finding import ALL, SEVERITIES, Report, SplitFiles
from rtmdet.data.doctor.report import examine, examine_path
from rtmdet.runs.data_purpose import read_purpose


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; returns 1 if any would stop or harm training, else 0."""
    if arguments.json is not None:
        inputs = arguments.annotations, arguments.images, arguments.val_annotations, arguments.val_images
        check_output(arguments.json, *inputs, earlier=is_report)
    purpose = read_purpose(arguments.config, arguments.weights, arguments.input)
    validation = read_validation(arguments.val_annotations, arguments.val_images)
    if arguments.annotations is None:
        splits = read_splits(arguments.config, arguments.images)
        splits = splits if validation is None else [splits[0], validation]
        report = examine(splits, purpose, decode=arguments.decode, watch=progress)
    else:
        path, images, decode = arguments.annotations, arguments.images, arguments.decode
        try:
            report = examine_path(path, purpose, images=images, validation=validation, decode=decode, watch=progress)
        except InputError as error:
            for fault in getattr(error, "__notes__", ()):
                print(fault)
            raise
    print(report)
    if arguments.json is not None:
        write_json(arguments.json, plain(report), indent=2)
        print(f"findings: {arguments.json}")
    if arguments.out is not None:
        draw_report(report, arguments.out)
    return int(report.harmful)


def read_splits(config: Path | None, images: Path | None) -> list[SplitFiles]:
    """The splits that the configuration names. Raises InputError if nothing is named."""
    if config is None or images is not None:
        raise InputError("expected a data set, or --config alone with its paths; see --help")
    data = load_config(config).data
    return [
        SplitFiles(name, Path(one.annotations), Path(one.images))
        for name, one in (("train", data.train), ("val", data.val))
    ]


def read_validation(annotations: Path | None, images: Path | None) -> SplitFiles | None:
    """The validation split that the options name."""
    if annotations is None and images is None:
        return None
    if annotations is None or images is None:
        raise InputError("--val-annotations and --val-images: expected both or neither; give the other one as well")
    return SplitFiles("val", annotations, images)


def is_report(content: object) -> bool:
    """Whether this is the JSON of an earlier check, which another one may replace."""
    return isinstance(content, dict) and {"findings", "splits"} <= content.keys()


def plain(report: Report) -> dict[str, object]:
    """The report as values for JSON."""
    findings = [
        {
            **asdict(finding),
            "count": len(finding.items),
            "items": [{**asdict(item), "files": list(map(str, item.files))} for item in finding.items],
        }
        for finding in report.findings
    ]
    splits = [
        {**asdict(summary), "annotations": str(source.origin or source.annotations), "folder": str(source.images)}
        for summary, source in zip(report.summaries, report.splits, strict=True)
    ]
    return {
        "harmful": report.harmful,
        "input_size": list(report.purpose.input_size),
        "splits": splits,
        "findings": findings,
    }


def draw_report(report: Report, folder: Path) -> None:
    """Draw every finding that has images; pictures of an earlier report are removed."""
    for severity, split in product(SEVERITIES, (ALL, "train", "val", "test")):
        for old in folder.glob(f"{severity}_{split}_*.png"):
            remove_file(old)
    for finding in report.findings:
        picture = draw_finding(finding)
        if picture is not None:
            path = folder / f"{finding.severity}_{finding.split}_{finding.code}.png"
            save_image(path, picture)
            print(path)
