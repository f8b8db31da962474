"""Training: one process of a run, from its configuration to the AP of its last epoch."""

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch

from rtmdet.config.file import differences, load_config
from rtmdet.config.schema import Config
from rtmdet.core.console import say, write_above_bar
from rtmdet.core.distributed import from_main, gather, is_main_process, process_group, told_once, world_size
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json
from rtmdet.core.wording import size_text
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.layout import is_coco
from rtmdet.detector import Detector
from rtmdet.models.rtmdet import RTMDet
from rtmdet.runs.build import build_trainer, open_data, training_device
from rtmdet.runs.checks.likely_causes import collect_facts
from rtmdet.runs.checks.progress_watch import ProgressWatch
from rtmdet.runs.checks.start_check import check_start
from rtmdet.runs.folder import (
    CONFIG,
    check_unclaimed,
    claim_folder,
    holds_folds,
    holds_run,
    is_run,
    load_run,
    origin_of,
    run_beside,
    without_checkpoint,
    write_configuration,
)
from rtmdet.runs.folds import cross_validate
from rtmdet.runs.options import RunOptions
from rtmdet.runs.provenance import describe_resumed
from rtmdet.runs.sample_sheet import write_samples
from rtmdet.runs.settings.own_data import (
    NULLS,
    OwnData,
    check_keys,
    check_same_validation,
    resumed_configuration,
    with_first_weights,
)
from rtmdet.runs.settings.own_splits import report_changes
from rtmdet.runs.time.estimate import Course, DurationEstimate
from rtmdet.runs.time.limit import TimedRun, TimeLimit, time_limit
from rtmdet.runs.validation import choice_cost, detection_size, inputs_per_image
from rtmdet.runs.weights_file import forget_weights, read_first_weights
from rtmdet.training.engine import Trainer, kept_best
from rtmdet.training.interruption import Interrupted
from rtmdet.training.log import Row, RunLog, read_log
from rtmdet.training.progress_bar import TrainingBar
from rtmdet.training.records import Callback
from rtmdet.training.tensorboard import TensorBoardLog, writer_of_tensorboard
from rtmdet.viz.curves import CurvePicture, draw_log
from rtmdet.viz.score_curves import ScoreCurvePicture
from rtmdet.weights.checkpoint import has_checkpoint, newest_checkpoint, newest_file

FOLD = re.compile(r"fold_\d+")  # the folder of one of --folds
PICTURES = 8  # validation images that TensorBoard shows


def run_training(options: RunOptions, callbacks: Sequence[Callback] = ()) -> Path:
    """Train; returns the folder of the run, or the common folder of all folds.

    Raises InputError if something cannot be used, Interrupted after a signal, with everything saved, and
    StoppedByAnother in all processes of torchrun except the one that reports why.
    """
    if options.folds is not None:
        train_fold = partial(train_run, callbacks=callbacks, estimated=False)
        cross_validate(options, train_fold, time_limit(options))
        return options.folder
    data: OwnData | None = None

    def configure() -> tuple[Config, TimeLimit | None]:
        nonlocal data
        limit = time_limit(options)
        if limit is None:
            return configuration(options), None
        check_unclaimed(options.folder)
        data = OwnData.open(options, options.folder)
        return data.configure(), limit

    config, limit = from_main(configure)  # choices from measurements may differ between processes
    timed = None if limit is None else TimedRun(limit, options, data)
    return train_run(config, timed, resume=options.resume, callbacks=callbacks)


def configuration(options: RunOptions) -> Config:
    """The configuration of `--config`, or the one derived for `--data`; a resumed run uses its own config.yaml.

    Raises InputError for options that contradict each other, and if the folder already holds a run.
    """
    if options.data is None:
        return read_configuration(options)
    check_keys(options)  # a misspelt one may be why the folder is another run's
    folder = options.folder
    check_unclaimed(folder)
    if not holds_run(folder):
        return OwnData.open(options, folder).configure()
    config = resumed_configuration(options, folder)
    begun = origin_of(folder)
    report_changes(options.data_set, options.images or (begun and begun[1]), folder / "data")
    return config


def read_configuration(options: RunOptions) -> Config:
    """The configuration of `--config` with `--weights` and `--set`."""
    assert options.config is not None, "given where no data set is"
    if options.keep_classes:
        raise InputError("--keep-classes works with --data only: with --config list the classes in data.classes")
    if options.images is not None:
        raise InputError("--images works with --data only: with --config set data.train.images and data.val.images")
    weights = []
    if options.weights is not None:
        name = "null" if options.weights.strip().lower() in NULLS else json.dumps(options.weights, ensure_ascii=False)
        weights = [f"model.weights={name}"]
    overrides = [*weights, *options.overrides]
    if options.run is not None and not has_checkpoint(options.run):
        text = without_checkpoint(options.run, run_beside(options.run))
        raise InputError(text if holds_folds(options.run) else f"{text}: give the folder of a run, or its last.pth")
    if is_run(options.config):
        config = load_run(options.config.parent, overrides)
        if options.resume:
            report_changes_since(options.config.parent, config)
        return config
    return load_config(options.config, overrides)


def report_changes_since(folder: Path, config: Config) -> None:
    """Print how the data set that the run in `folder` was started on, if it was by --data, has changed since."""
    begun = origin_of(folder)
    if begun is None or not begun[0].exists() or FOLD.fullmatch(folder.resolve().name):  # whose splits are its own
        return
    path, images = begun
    with suppress(InputError):  # a file that cannot be read is reported below
        if images is None and path.suffix.lower() == ".json" and is_coco(read_json(path)):
            images = Path(config.data.train.images)  # the first versions did not store it
    report_changes(path, images, folder / "data")


def train_run(
    config: Config,
    timed: TimedRun | None = None,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    estimated: bool = True,
) -> Path:
    """Train, alone or as one of the processes of torchrun; returns the folder of the run.

    `timed` fits a new run to a time. `resume` continues from the folder's newest checkpoint. `callbacks` are called
    at every step and validation, in addition to the log files and the progress bar, e.g. for an experiment tracker.
    `estimated`: print how long a new run takes. Raises InputError if the configuration or the data cannot be used,
    Interrupted after SIGTERM or Ctrl-C, with everything saved, and StoppedByAnother in the processes of torchrun that
    do not report why the run stopped.
    """
    began = time.monotonic()
    folder = Path(config.train.output)
    resumed = resume and has_checkpoint(folder)
    device = training_device(config.train.device)
    with process_group(device), told_once(), claim_folder(folder, new=not resume):
        if resumed:
            check_same_validation(config, folder)
            config = with_first_weights(config, folder)
        prepare_process(config)
        train_data, val_data = open_data(config, resumed=resumed)
        opened = time.monotonic()
        trainer = build_trainer(config, train_data, val_data, device, resumed=resumed)
        build = time.monotonic() - opened
        if resumed:
            resume_newest(trainer, folder)
        check_same_iteration(trainer)
        if resumed and trainer.finished:
            restore_files(config, folder)
            report_outcome(trainer, config)
            gather(None)  # before that, others would read files that are not complete
            return folder
        check_start(config, trainer, train_data, val_data, resumed=resumed)
        correction: list[Callback] = []
        if timed is not None and not resumed:
            ready, before = time.monotonic() - began, config.data.input_size
            config, trainer, last = timed.fit(config, trainer, (train_data, val_data), ready=ready, build=build)
            correction.append(last)
            if config.data.input_size != before:
                check_start(config, trainer, train_data, val_data, resumed=False)
        if is_main_process():
            write_configuration(folder, config)
            trainer.callbacks = [*build_callbacks(config, trainer, train_data, val_data), *callbacks]
            if estimated and timed is None and not resumed:
                trainer.callbacks.append(estimate_duration(config, trainer.steps, train_data, val_data))
            write_samples(config, train_data, folder, again=not resumed)
        trainer.callbacks = [*trainer.callbacks, *correction]
        forget_weights()
        if resume and not resumed:
            report_beginning(folder)
        with emptied_by_errors(trainer):
            run_loop(trainer)
        report_outcome(trainer, config)
        gather(None)
    return folder


def prepare_process(config: Config) -> None:
    """Set what is global in this process. Raises InputError, before any work, if a package is missing."""
    if config.train.tensorboard:
        writer_of_tensorboard()
    torch.manual_seed(config.train.seed)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = config.train.tf32


@contextmanager
def emptied_by_errors(trainer: Trainer) -> Iterator[None]:
    """Empty the trainer where an error ends it: notebooks keep its traceback, and so its processes and memory."""
    try:
        yield
    except BaseException:
        vars(trainer).clear()
        raise


def report_beginning(folder: Path) -> None:
    """Print, last before training, that --resume found nothing; a warning if a run beside it may be meant."""
    meant = run_beside(folder)
    text = without_checkpoint(folder, meant)
    say(f"{'' if meant is None else 'warning: '}{text}: the run starts at the beginning")


def restore_files(config: Config, folder: Path) -> None:
    """Write, in the main process, what the finished run in a folder may lack, if it was killed at its end."""
    if not is_main_process():
        return
    if not (folder / CONFIG).exists():
        write_configuration(folder, config)
    draw_log(folder / "log.jsonl", folder / "curves.png")


def report_outcome(trainer: Trainer, config: Config) -> None:
    """Print where the curves are, and what the run reached."""
    say(f"curves: {trainer.folder / 'curves.png'}")
    used = trainer.meta.facts.input_size
    other = None if used == detection_size(config) else used
    say(describe_outcome(read_log(trainer.folder / "log.jsonl"), trainer.folder, other))


def estimate_duration(config: Config, steps: int, train_data: CocoDataset, val_data: CocoDataset) -> DurationEstimate:
    """The callback that prints how long the run takes, with `steps` per epoch."""
    inputs = len(val_data) * inputs_per_image(config, val_data)
    batches = math.ceil(inputs / (config.data.batch_size * world_size()))
    choice = choice_cost(config, train=len(train_data), val=round(inputs))
    on_data = origin_of(Path(config.train.output)) is not None
    return DurationEstimate(Course.of(config, steps), batches, choice, fits=on_data)


def run_loop(trainer: Trainer) -> None:
    """Run the training loop, and close the callbacks however it ends."""
    try:
        with ExitStack() as closing:  # all of them, even if one fails
            for callback in reversed(trainer.callbacks):
                closing.callback(callback.close)
            trainer.run()
    except Interrupted:
        say(f"stopped by a signal in epoch {trainer.epoch + 1}, after iteration {trainer.iteration}; state saved")
        raise
    except RuntimeError as error:
        if any(kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in type(error).__mro__):
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"train.compile: the network cannot be compiled here ({reason}): install a C++ compiler, "
                "or set train.compile=false"
            ) from error
        raise
    if trainer.stopped_early:
        why = f"no better AP in {trainer.plan.patience} validations" if trainer.out_of_patience else "by a callback"
        say(f"stopped early after epoch {trainer.epoch}: {why}")


def resume_newest(trainer: Trainer, folder: Path) -> None:
    """Resume the run of a folder."""
    path, fault = newest_checkpoint(folder)
    if fault is not None:
        say(f"{fault}; continuing from the previous checkpoint, {path}")
    before = trainer.resume(path)
    made_with = describe_resumed(before.made_with, trainer.stepper.device)
    trainer.meta = replace(trainer.meta, made_with=made_with)
    changed = differences(before.facts.config, trainer.meta.facts.config)
    done, epochs = trainer.epoch, trainer.plan.epochs
    if done > epochs:
        raise InputError(f"{folder}: {done} epochs are finished, --epochs is {epochs}: leave it out, or raise it")
    if trainer.finished:
        counted = f"{done} epoch{'' if done == 1 else 's'}"
        unused = f"; not applied: {', '.join(changed)}" if changed else ""
        longer = "a larger --epochs" if done == epochs else "a larger train.patience"
        say(f"{folder}: the run is complete after {counted}, so nothing is trained{unused}; {longer} prolongs it")
        return
    if changed:
        say(f"settings that differ from the checkpoint's: {', '.join(changed)}")
    say(f"resumed after epoch {done} of {epochs}, iteration {trainer.iteration}")
    if (kept := kept_best(folder, before)).exists():
        say(f"{kept}: the best weights so far, with AP at another input size: best.pth begins without them")


def check_same_iteration(trainer: Trainer) -> None:
    """Raise InputError if processes start at different iterations: all machines need the same run folder."""
    iterations = gather(trainer.iteration)
    if len(set(iterations)) > 1:
        raise InputError(
            f"{trainer.folder}: the processes would start at iterations {', '.join(map(str, iterations))}: give all "
            "machines the same --output"
        )


def build_callbacks(
    config: Config, trainer: Trainer, train_data: CocoDataset, val_data: CocoDataset
) -> list[Callback]:
    """Log files, progress bar, warnings, curves, and TensorBoard if configured."""
    train, folder = config.train, Path(config.train.output)
    log = RunLog(folder, log_every=train.log_every, iterations=trainer.iteration, epochs=trainer.epoch)
    bar = TrainingBar(epochs=train.epochs, iterations=trainer.steps, done=trainer.iteration)
    weights = None
    with suppress(InputError):  # the file may be gone: a resumed run no longer needs it
        weights = read_first_weights(config)
    facts = collect_facts(config, train_data, weights, steps=trainer.steps)
    watch = ProgressWatch(folder, facts, report=write_above_bar, history=read_log(log.path))
    again = trainer.iteration > 0  # the run may have been killed before it drew
    curves = CurvePicture(log.path, folder / "curves.png", due=again)
    f1 = ScoreCurvePicture(folder / "f1.png")
    callbacks: list[Callback] = [log, bar, watch, curves, f1]
    if train.tensorboard:
        pictures = partial(predicted_pictures, trainer, val_data)
        board = TensorBoardLog(folder, iterations=trainer.iteration, pictures=pictures)
        log.readers.append(board.write)
        callbacks.append(board)
    return callbacks


def predicted_pictures(trainer: Trainer, dataset: CocoDataset) -> list[np.ndarray]:
    """The first validation images with the detections of the averaged model."""
    model, facts = trainer.averaged, trainer.meta.facts
    assert isinstance(model, RTMDet), "build_trainer made it"
    detector = Detector.from_model(model, facts, trainer.stepper.device)
    images = (dataset.load(index).image for index in range(min(PICTURES, len(dataset))))
    return [found.draw() for found in detector(images, batch_size=1, tile=0)]


def describe_outcome(rows: Iterable[Row], folder: Path, input_size: tuple[int, int] | None = None) -> str:
    """The last line of a run, from the rows of its log: the AP of the last epoch, the best, and which to report.

    `input_size` (H, W): one chosen for the last validation only.
    """
    # best.pth is the maximum of several validations on the same images, so its AP is biased upward; that of the last
    # epoch, which `train` always validates, is not.
    measured = [row for row in rows if row["kind"] == "val"]
    sizes = [(row.get("input_height"), row.get("input_width")) for row in measured]
    alike = len([*takewhile(lambda size: size == sizes[-1], reversed(sizes))])  # AP at other sizes does not compare
    values = [float(row["AP"]) for row in measured[-alike:]]
    last_file, best_file = newest_file(folder), folder / "best.pth"
    if not values:
        return f"no validation in the log of this run; weights: {last_file}"
    last, best = values[-1], max(values)
    if last < 0:  # -1: undefined
        return f"AP undefined: the validation images contain no objects; weights: {last_file}"
    if input_size is not None:
        text = f"AP of the last epoch {last:.3f} at {size_text(input_size)} ({last_file})"
        others = {*sizes} - {sizes[-1]}
        before = "other sizes" if len(others) > 1 or sizes[-1] in sizes[:-alike] else "the training size"
        return text + (f"; earlier validations used {before}" if others else "")
    if len(values) == 1:
        return f"AP {last:.3f} after the last epoch ({last_file})"
    if last == best:
        return f"AP of the last epoch {last:.3f} ({last_file}), the best of {len(values)} validations"
    return (
        f"AP of the last epoch {last:.3f} ({last_file}), best of {len(values)} validations {best:.3f} ({best_file}); "
        "the best is chosen on these same images, so its AP is too optimistic: report the last"
    )
