"""Which photos to label next: AP after labeling the most unsure ones, by each measure, compared with random ones.

    python benchmarks/label_study.py --data DATA/balloon --weights nano.pth --seeds 0 1 2 3 4 --out balloon.json
    python benchmarks/label_study.py --data DATA/bccd --weights nano.pth --first 0.1 --next 0.1 --device cuda --jobs 5

For each seed, a detector is trained on a random `--first` part of the training photos and ranks the others by every
measure of unsure_measures.py. Then detectors are trained from `--weights`, each on the first part and a further
`--next` part (both fractions of all training photos): the most unsure photos of a measure, or random ones. With
`--first 0` the weights themselves rank the photos. All of one seed share the first part and the training's seed.

DATA is what `rtmdet train --data` takes. AP is that of the last epoch on its validation split, or on a random
`--hold-out` part of all photos, another one for each seed. The table shows the mean AP, the mean difference from
random over the seeds with its standard error, the number of seeds with a higher AP, and how many boxes there were to
label. Each finished training is written to `--out` at once and not repeated; what the runs print is in --work.
"""

import argparse
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch, as the commands do
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unsure_measures import MEASURES

FIRST, RANDOM = "first", "random"  # the training before, and what measures are compared with
SAME = ("data", "weights", "first", "next", "hold_out", "epochs", "input")  # settings that rows must share
Row = dict  # of the results: seed, design, ap, ap50, photos, boxes; picks by measure for FIRST


@dataclass(frozen=True)
class Study:
    """What all trainings share."""

    work: Path  # holds images/, and a folder of each training
    photos: dict[str, list[int]]  # by split: train and val
    coco: dict  # all photos, in one file
    weights: str
    epochs: int | None
    side: int
    device: str
    threads: int
    workers: int
    first: float
    next: float
    hold_out: float | None

    def parts(self, seed: int) -> tuple[list[int], list[int], list[int]]:
        """Photo ids of one seed: the first part, the others to choose from, and the ones AP is measured on."""
        train, val = list(self.photos["train"]), list(self.photos.get("val", ()))
        draw = random.Random(seed)
        if self.hold_out is not None:
            everything = sorted(train + val)
            draw.shuffle(everything)
            count = round(len(everything) * self.hold_out)
            val, train = everything[:count], everything[count:]
        train.sort()
        draw.shuffle(train)
        count = round(len(train) * self.first)
        return train[:count], train[count:], val

    def number_to_choose(self, seed: int) -> int:
        """How many further photos are labeled."""
        first, others, _ = self.parts(seed)
        return max(1, min(len(others), round((len(first) + len(others)) * self.next)))


def open_study(arguments: argparse.Namespace) -> Study:
    """Read the data set and link its photos into one folder, each with its id in its name."""
    from rtmdet.data.formats.open import open_dataset
    from rtmdet.data.image_names import place_images

    images = arguments.work / "images"
    images.mkdir(parents=True, exist_ok=True)
    whole: dict = {"images": [], "annotations": [], "categories": []}
    photos: dict[str, list[int]] = {}
    for name, split in open_dataset(arguments.data).splits.items():
        if split.annotations is not None:
            place_images(split.annotations, split.coco, split.images)
        whole["categories"] = whole["categories"] or split.coco["categories"]
        ids = {}
        for image in sorted(split.coco["images"], key=lambda image: image["file_name"]):
            ids[image["id"]] = number = len(whole["images"]) + 1
            link = images / f"{number:06d}{Path(image['file_name']).suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to((split.images / image["file_name"]).resolve())
            whole["images"].append({**image, "id": number, "file_name": link.name})
        for one in split.coco["annotations"]:
            number = len(whole["annotations"]) + 1
            whole["annotations"].append({**one, "id": number, "image_id": ids[one["image_id"]]})
        photos[name] = sorted(ids.values())
    if "val" not in photos and arguments.hold_out is None:
        sys.exit(f"{arguments.data} has no validation split: add --hold-out 0.3")
    return Study(
        arguments.work, photos, whole, arguments.weights, arguments.epochs, arguments.input, arguments.device,
        max(1, (os.cpu_count() or 1) // arguments.jobs), arguments.workers, arguments.first, arguments.next,
        arguments.hold_out,
    )  # fmt: skip


def train_on(study: Study, seed: int, design: str, learned: Sequence[int], measured: Sequence[int]) -> Row:
    """Train on these photos and measure on the others; for FIRST also rank what is left. Runs in its own process."""
    import torch

    torch.set_num_threads(study.threads)
    name = f"{design}-{seed}"
    with (study.work / f"{name}.log").open("w") as log, redirect_stdout(log), redirect_stderr(log):
        data, run = study.work / f"data-{name}", study.work / f"run-{name}"
        shutil.rmtree(run, ignore_errors=True)  # of a study that was cut short
        write_split(study, learned, data / "train.json")
        write_split(study, measured, data / "val.json")
        row: Row = {"seed": seed, "design": design, "photos": len(learned), "boxes": count_boxes(study, learned)}
        weights = study.weights
        if learned:
            row |= train_detector(study, seed, data, run)
            weights = str(run / "last.pth")
        if design == FIRST:
            row["picks"] = rank(study, seed, weights)
        return row


def train_detector(study: Study, seed: int, data: Path, run: Path) -> Row:
    """A run with the defaults of `rtmdet train --data` except the input size; AP and AP50 of its last epoch."""
    import rtmdet

    settings = {
        "data.input_size": [study.side, study.side],
        "data.workers": study.workers,
        "evaluation.choose_input_size": False,
        "evaluation.backend": "hotcoco",
        "train.validate_every": 10_000,  # the last epoch always is
        "train.seed": seed,
        "train.device": study.device,
    }
    found = rtmdet.train(data, weights=study.weights, epochs=study.epochs, output=run, settings=settings).metrics
    return {"ap": found["AP"], "ap50": found["AP50"]}


def write_split(study: Study, ids: Sequence[int], path: Path) -> None:
    """A COCO file of some photos; their images are found in ../images."""
    wanted = set(ids)
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [image for image in study.coco["images"] if image["id"] in wanted]
    annotations = [one for one in study.coco["annotations"] if one["image_id"] in wanted]
    path.write_text(json.dumps({**study.coco, "images": images, "annotations": annotations}))


def count_boxes(study: Study, ids: Sequence[int]) -> int:
    """How many boxes these photos have."""
    wanted = set(ids)
    return sum(one["image_id"] in wanted for one in study.coco["annotations"])


def rank(study: Study, seed: int, weights: str) -> dict[str, list[int]]:
    """The ids of the photos to label next, by each measure, the most unsure one first."""
    import numpy as np
    from unsure_measures import LEAST_SCORE, Seen

    from rtmdet.deploy.views import View
    from rtmdet.detector import Detector
    from rtmdet.images.reading import read_image

    detector = Detector(weights, device=study.device, input_size=(study.side, study.side))
    thresholds = np.array(detector.thresholds())
    names = {image["id"]: image["file_name"] for image in study.coco["images"]}
    values: dict[str, dict[int, float]] = {measure: {} for measure in MEASURES}
    for number in study.parts(seed)[1]:
        pixels = read_image(study.work / "images" / names[number])
        found, other = (detector(view, score=LEAST_SCORE) for view in (pixels, np.ascontiguousarray(pixels[:, ::-1])))
        mirrored = View(detector.input_size, mirrored=True).back(other, pixels.shape[1])
        seen = Seen(found.numpy(), mirrored, thresholds)
        for measure, function in MEASURES.items():
            values[measure][number] = function(seen)
    count = study.number_to_choose(seed)
    return {name: sorted(each, key=lambda one: (-each[one], one))[:count] for name, each in values.items()}


def designs(study: Study, seed: int, measures: Sequence[str], draws: int, first: Row | None) -> Iterator[tuple]:
    """The trainings of a seed that can begin: design, photos to learn, photos to measure on."""
    begun, others, measured = study.parts(seed)
    if first is None:
        yield FIRST, begun, measured
    for number in range(draws):
        chosen = random.Random(f"{seed}-{number}").sample(others, study.number_to_choose(seed))
        yield f"{RANDOM}{number}", [*begun, *chosen], measured
    for name in measures if first is not None else ():
        yield name, [*begun, *first["picks"][name]], measured


def run_training(study: Study, arguments: argparse.Namespace, rows: list[Row]) -> None:
    """Make the trainings that are missing, several at a time; every row is saved when it is there."""
    context = get_context("spawn")
    done = {(row["seed"], row["design"]): row for row in rows}
    with ProcessPoolExecutor(arguments.jobs, context, max_tasks_per_child=1) as pool:
        running: dict[Future, tuple[int, str]] = {}

        def submit(seed: int) -> None:
            waiting = {*done, *running.values()}
            for name, learned, measured in designs(
                study, seed, arguments.measures, arguments.random, done.get((seed, FIRST))
            ):
                if (seed, name) not in waiting:
                    running[pool.submit(train_on, study, seed, name, learned, measured)] = (seed, name)

        for seed in arguments.seeds:
            submit(seed)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                seed, name = running.pop(future)
                if future.exception() is not None:
                    print(f"seed {seed}, {name}: {future.exception()!r}; see {study.work}/{name}-{seed}.log")
                    continue
                row = done[seed, name] = future.result()
                rows.append(row)
                save(arguments, rows)
                print(f"seed {seed}, {name}: AP {row.get('ap', float('nan')):.3f}", flush=True)
                if name == FIRST:
                    submit(seed)


def save(arguments: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Replace the results file at once, so that it is always whole."""
    settings = {name: str(value) for name, value in vars(arguments).items()}
    new = arguments.out.with_suffix(".new")
    new.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1))
    new.replace(arguments.out)


def read_rows(arguments: argparse.Namespace) -> list[Row]:
    """The rows of an earlier study with the same settings; ends the program if they are others."""
    if not arguments.out.exists():
        return []
    found = json.loads(arguments.out.read_text())
    for name in () if arguments.table else SAME:
        if (before := found["settings"][name]) != (now := str(getattr(arguments, name))):
            sys.exit(f"{arguments.out}: made with {name} {before}, not {now}: choose another --out")
    return found["rows"]


def print_table(rows: Sequence[Row]) -> None:
    """Means over the seeds; differences are those from the mean of the random choices of the same seed."""
    drawn: dict[int, list[float]] = {}
    for row in rows:
        if row["design"].startswith(RANDOM):
            drawn.setdefault(row["seed"], []).append(row["ap"])
    print("labeled next  trainings  photos  boxes     AP   AP50  AP - random    s.e.  higher")
    groups: dict[str, list[Row]] = {FIRST: [], RANDOM: [], **{name: [] for name in MEASURES}}
    for row in rows:
        if "ap" in row:
            groups[row["design"].rstrip("0123456789")].append(row)
    for name, group in groups.items():
        if not group:
            continue
        photos, boxes, ap, ap50 = (mean(row[key] for row in group) for key in ("photos", "boxes", "ap", "ap50"))
        line = f"{name:12}  {len(group):9}  {photos:6.1f}  {boxes:5.0f}  {ap:.3f}  {ap50:.3f}"
        gains = [row["ap"] - mean(drawn[row["seed"]]) for row in group if row["seed"] in drawn]
        if gains and name != RANDOM:
            error = f"{stdev(gains) / len(gains) ** 0.5:.4f}" if len(gains) > 1 else "     -"
            line += f"  {mean(gains):+11.4f}  {error}  {sum(gain > 0 for gain in gains):3} of {len(gains)}"
        print(line)


def main() -> None:
    """Make the trainings that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set, as for rtmdet train --data")
    parser.add_argument("--weights", required=True, help="checkpoint or published name to start from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--first", type=float, default=0.25, help="fraction of training photos labeled at first")
    parser.add_argument("--next", type=float, default=0.25, help="fraction of training photos labeled next")
    parser.add_argument("--hold-out", type=float, help="measure on this fraction of all photos, drawn for each seed")
    parser.add_argument("--random", type=int, default=2, help="random choices per seed")
    parser.add_argument("--measures", nargs="+", choices=tuple(MEASURES), default=list(MEASURES))
    parser.add_argument("--epochs", type=int, help="epochs (default: as rtmdet train chooses)")
    parser.add_argument("--input", type=int, default=320)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    parser.add_argument("--workers", type=int, default=2, help="loader processes of each training")
    parser.add_argument("--out", type=Path, default=Path("label_study.json"))
    parser.add_argument("--work", type=Path, help="folder of the runs (default: beside --out, with its name)")
    parser.add_argument("--table", action="store_true", help="only print the table of --out")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.work = (arguments.work or arguments.out.with_suffix("")).resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if Path(arguments.weights).exists():
        arguments.weights = str(Path(arguments.weights).resolve())
    arguments.data = arguments.data.resolve()
    rows = read_rows(arguments)
    if not arguments.table:
        run_training(open_study(arguments), arguments, rows)
    print_table(rows)


if __name__ == "__main__":
    main()
