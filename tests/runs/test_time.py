"""The arithmetic between measured seconds and the length of a run."""

from dataclasses import replace

import pytest

from rtmdet.config.schema import AugmentationConfig, Config, DataConfig, SplitConfig, TrainingConfig
from rtmdet.runs.time.correction import fit_rest
from rtmdet.runs.time.estimate import END, Course, Speed, duration_text, pace
from rtmdet.runs.time.limit import fit_epochs, share_that_fits, smaller_input

SPEED = Speed(start=4.0, mixed_step=0.5, plain_step=0.4, validation=6.0, save=0.25)
DEFAULT = Course(epochs=40, plain_epochs=20, steps=10, validations=8)


def config(**train: object) -> Config:
    split = SplitConfig("a.json", "a")
    return Config(
        DataConfig(split, split),
        augmentation=AugmentationConfig(stage2_epochs=3),
        train=TrainingConfig(**train),  # type: ignore[arg-type]
    )


def test_seconds_are_the_sum_of_the_parts() -> None:
    course = Course(epochs=6, plain_epochs=2, steps=10, validations=3)
    steps, validations, saves = 4 * 10 * 0.5 + 2 * 10 * 0.4, 3 * 6.0, (6 + 2 * 3) * 0.25
    assert course.seconds(SPEED) == pytest.approx(4.0 + steps + validations + saves + END)


def test_a_configuration_has_its_epochs_stages_and_validations() -> None:
    assert Course.of(config(epochs=10, validate_every=4), 7) == Course(10, 3, 7, 3)  # after 4, 8 and 10
    assert Course.of(config(epochs=10, validate_every=4, dense_validation=2), 7) == Course(10, 3, 7, 4)
    assert Course.of(config(epochs=2, validate_every=1), 7) == Course(2, 2, 7, 2)


@pytest.mark.parametrize("seconds", [60.0, 100.0, 180.0, 300.0])
def test_the_fitted_run_ends_near_the_time(seconds: float) -> None:
    epochs, every = fit_epochs(seconds, SPEED, DEFAULT)
    course = Course(epochs, epochs // 2, DEFAULT.steps, -(-epochs // every))
    assert 0.9 * seconds <= course.seconds(SPEED) <= 1.05 * seconds


def test_the_default_time_gives_the_default_run() -> None:
    cheap = replace(SPEED, validation=0.1, save=0.0)
    assert fit_epochs(DEFAULT.seconds(cheap) + 0.01, cheap, DEFAULT) == (40, 5)


def test_no_more_than_three_times_the_default() -> None:
    assert fit_epochs(1e6, SPEED, DEFAULT)[0] == 120


def test_where_no_epoch_fits_there_are_none() -> None:
    one = Course(1, 0, DEFAULT.steps, 1).seconds(SPEED)
    assert fit_epochs(0.9 * one, SPEED, DEFAULT)[0] == 0
    assert fit_epochs(one, SPEED, DEFAULT)[0] == 1
    assert fit_epochs(-5.0, SPEED, DEFAULT)[0] == 0


def test_the_nearer_end_is_taken_where_it_is_hardly_late() -> None:
    long = replace(SPEED, mixed_step=4.0, plain_step=4.0, validation=0.0, save=0.0)  # 40 s an epoch
    three = Course(3, 1, 10, 1).seconds(long)
    assert fit_epochs(three - 4, long, DEFAULT)[0] == 3
    assert fit_epochs(three - 10, long, DEFAULT)[0] == 2


def test_validations_take_a_small_share_of_a_short_time() -> None:
    slow = replace(SPEED, validation=20.0)
    epochs, every = fit_epochs(200.0, slow, DEFAULT)
    assert -(-epochs // every) == 1
    assert fit_epochs(2000.0, slow, DEFAULT)[1] == 15  # of 120 epochs: no more often than by default
    assert fit_epochs(200.0, slow, DEFAULT, validate_every=2)[1] == 2


def test_the_rest_of_a_run_follows_its_speed() -> None:
    def rest(seconds: float, factor: float = 1.0) -> int:
        speed = replace(SPEED, start=0.0, mixed_step=0.5 * factor, plain_step=0.4 * factor)
        return fit_rest(seconds, speed, planned=20, steps=10, done=20, validate_every=5)

    planned = Course(20, 20, 10, 4).seconds(replace(SPEED, start=0.0))
    assert rest(planned) == 20
    assert rest(planned, factor=1.5) < 20 < rest(planned, factor=0.7)
    assert (rest(1.0), rest(1e6)) == (10, 40)


def test_the_share_that_fits_counts_what_comes_before_the_first_step() -> None:
    whole = 4.0 + END + (DEFAULT.seconds(replace(SPEED, validation=0.0)) - 4.0 - END - 2 * 8 * 0.25) / 0.88
    assert share_that_fits(whole, SPEED, DEFAULT) == pytest.approx(1.0)
    assert share_that_fits(3.0, SPEED, DEFAULT) == 0.0


@pytest.mark.parametrize(
    ("size", "passes", "found"),
    [
        ((640, 640), 0.3, (640, 640)),
        ((640, 640), 0.22, (576, 576)),
        ((640, 640), 0.01, (320, 320)),
        ((480, 640), 0.01, (256, 320)),  # no side below its half
        ((96, 96), 0.01, (64, 64)),  # nor below the smallest input
        ((64, 64), 0.0, (64, 64)),
    ],
)
def test_a_smaller_input_where_few_passes_fit(size: tuple[int, int], passes: float, found: tuple[int, int]) -> None:
    assert smaller_input(size, passes) == found


def test_pace_averages_whole_epochs_and_leaves_out_the_first_step() -> None:
    assert pace([9.0, 1.0, 2.0, 1.0, 2.0, 1.0], steps=2) == 1.5
    assert pace([9.0, 5.0, 1.0, 1.0], steps=100) == 1.0  # the queues are filled at first
    assert pace([9.0], steps=5) == 9.0


def test_durations_are_written_for_people() -> None:
    assert [duration_text(seconds) for seconds in (40, 390, 1200, 7800, 172800, 8509440)] == [
        "40 s",
        "6.5 min",
        "20 min",
        "2 h 10 min",
        "48 h 0 min",
        "98 days",
    ]
