"""`rtmdet infer`: objects in images, as drawn pictures and one detections.json, or as lines of JSON."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from typing import TextIO

from tqdm import tqdm

from rtmdet.cli.command import print_failures
from rtmdet.cli.model_options import check_score, choose_thresholds, choose_windows, describe_score, load_detector
from rtmdet.core.console import bars_hidden
from rtmdet.core.detections import DetectedObject
from rtmdet.core.errors import InputError
from rtmdet.deploy.views import check_views
from rtmdet.stream.detecting import CONTINUING, DetectSettings
from rtmdet.stream.frames import Failure, Source
from rtmdet.stream.infer import DetectedFile, OutputSettings, infer
from rtmdet.stream.output_paths import drawn_pictures
from rtmdet.stream.sources import find_sources, with_range
from rtmdet.stream.tracking import check_tracking

SHOWN = 20  # files with a line of their own at the end


def run(arguments: argparse.Namespace) -> int:
    """Detect in every image; returns 0, or 1 if some of several images could not be read or drawn."""
    lines = sys.stdout if arguments.stream else None
    with redirect_stdout(sys.stderr) if lines else nullcontext():  # nothing but the lines on standard output
        return _run(arguments, lines)


def _run(arguments: argparse.Namespace, lines: TextIO | None) -> int:
    check_score(arguments.score)
    if arguments.hide_labels and (lines is not None or arguments.no_pictures):
        raise InputError("--hide-labels: no pictures are drawn: leave it out")
    check_views(tta=arguments.tta, tile=arguments.tile)
    found = find_sources(arguments.paths, recursive=arguments.recursive, skip=arguments.out)
    if arguments.track:
        check_tracking(found.sources)  # before the weights are loaded
    detector = load_detector(arguments, half=arguments.half)
    found = with_range(found, detector.value_range)
    for remark in found.remarks:
        print(remark)
    thresholds = choose_thresholds(detector, arguments.score, arguments.classes)
    settings = DetectSettings(
        thresholds,
        arguments.max_boxes,
        arguments.batch,
        augmented=arguments.tta,
        tiling=detector.choose_tiling(choose_windows(arguments.tile, detector, augmented=arguments.tta)),
        tracked=arguments.track,
    )
    output = OutputSettings(
        arguments.out,
        pictures=lines is None and not arguments.no_pictures,
        labels=not arguments.hide_labels,
        document=lines is None,
        crops=arguments.crops,
        formats=arguments.save,
    )
    summary = Tally(arguments.max_boxes, tracked=arguments.track)
    before = drawn_pictures(arguments.out) if output.pictures else set()
    outcomes = infer(detector, found.sources, settings, output, weights=str(arguments.weights))
    with closing(outcomes), progress_bar(found.sources, hidden=lines is not None) as bar:
        for outcome in outcomes:
            if outcome.entry is not None:
                summary.add(outcome.entry)
                before.discard(outcome.entry.get("picture", ""))
                if lines is not None:
                    print(json.dumps(outcome.entry), file=lines, flush=True)
            if (failure := outcome.failure) is not None:
                summary.failures.append(failure)
                if lines is not None and failure.file:
                    print(json.dumps({"file": failure.file, "error": str(failure.error)}), file=lines, flush=True)
            bar.update()
    if not summary.files:
        print_failures(summary.failures, nothing_done=True)
    print(describe_score(arguments.score, detector, list(thresholds)))
    if arguments.track:
        print(f"boxes above {CONTINUING:g} x that score are shown, too, where they continue a track")
    summary.report(output)
    if before:
        print(f"pictures of the run before that stay in {arguments.out}: {len(before)}")
    return 1 if summary.failures else 0


def progress_bar(sources: Sequence[Source], *, hidden: bool) -> tqdm:
    """A bar over all pictures on standard error, if that is a terminal and there is more than one."""
    counts = [source.count() for source in sources]
    known = [count for count in counts if count is not None]
    total = sum(known) if len(known) == len(counts) else None
    return tqdm(total=total, desc="detecting", unit=" images", disable=hidden or total == 1 or bars_hidden())


@dataclass(slots=True)
class Tally:
    """What was found in all images, by file: the first ones with their counts, all as a number.

    Of `tracked` videos the tracks count, each once.
    """

    most: int  # boxes of a picture that are kept
    tracked: bool = False
    files: int = 0
    full: int = 0  # pictures that reach it
    frames: Counter[str] = field(default_factory=Counter)  # pictures of each of the first files
    objects: dict[str, Counter[str]] = field(default_factory=dict)  # of each class in them
    pictures: dict[str, str] = field(default_factory=dict)  # where they were drawn
    failures: list[Failure] = field(default_factory=list)
    _last: str = ""
    _seen: set[int] = field(default_factory=set)  # ids of the tracks of the last file

    def add(self, entry: DetectedFile) -> None:
        """Count the objects of one picture. Those of one file come one after the other."""
        name = str(entry["file"])
        self.full += len(entry["objects"]) >= self.most
        if name != self._last:
            self.files, self._last = self.files + 1, name
            self._seen.clear()
        if self.files <= SHOWN:
            self.frames[name] += 1
            self.objects.setdefault(name, Counter()).update(item["class_name"] for item in self._new(entry))
            if "picture" in entry:
                self.pictures[name] = entry["picture"]

    def _new(self, entry: DetectedFile) -> list[DetectedObject]:
        """The objects that count: of tracked ones those that were not seen before."""
        if not self.tracked:
            return entry["objects"]
        new = [item for item in entry["objects"] if "id" in item and item["id"] not in self._seen]
        self._seen.update(item["id"] for item in new)
        return new

    def report(self, output: OutputSettings) -> None:
        """Print what was found, where each picture is, and which images could not be read."""
        for name, counts in self.objects.items():
            summary = ", ".join(f"{count} {found}" for found, count in counts.items()) or "nothing"
            frames = f"{self.frames[name]} frames, " if self.frames[name] > 1 else ""
            frames += "tracks: " if self.tracked else ""
            drawn = f" -> {output.folder / self.pictures[name]}" if name in self.pictures else ""
            print(f"{name}: {frames}{summary}{drawn}")
        if self.files > SHOWN:
            print(f"... and {self.files - SHOWN} more images" + (": see detections.json" if output.document else ""))
        if self.full:
            print(f"pictures with as many boxes as --max-boxes allows, {self.most}: {self.full} (there may be more)")
        print_failures(self.failures)
        if output.document:
            first = ["pictures"] * output.pictures + ["detections.json"] * self.tracked
            last = "tracks.csv" if self.tracked else "detections.json"
            print(f"{', '.join(first)}{' and ' if first else ''}{last}: {output.folder}")
