"""The rules for the settings of own data: what they promise at any number of images."""

import pytest

from rtmdet.config.recipe import Start, choose_recipe


def recipe(images: int, **options: object) -> dict[str, object]:
    return {choice.key: choice.value for choice in choose_recipe(images, **{"start": "detector", **options})}  # type: ignore[arg-type]


@pytest.mark.parametrize("images", [1, 5, 23, 24, 61, 300, 5000, 200_000])
@pytest.mark.parametrize("start", ["detector", "backbone", "nothing"])
def test_the_choices_fit_together(images: int, start: Start) -> None:
    found = recipe(images, start=start)
    epochs, batch = found["train.epochs"], found["data.batch_size"]
    assert isinstance(epochs, int)
    assert isinstance(batch, int)
    steps = epochs * -(-images // batch)
    assert epochs >= 1
    assert 1 <= found["train.warmup_iterations"] <= max(steps / 10, 1)
    assert 0 <= found["augmentation.stage2_epochs"] < epochs
    assert 1 <= found["train.validate_every"] <= epochs
    assert 0 < found.get("train.ema_momentum", 0.1) <= 0.1


def test_the_balloon_set_is_shown_as_often_as_the_tutorial_does() -> None:
    assert recipe(61)["train.epochs"] * 61 <= 2440  # type: ignore[operator]


def test_few_images_come_more_often() -> None:
    assert recipe(20)["train.epochs"] * 20 >= 2000  # type: ignore[operator]


def test_what_the_user_gives_is_no_choice_and_the_rest_follows() -> None:
    few, many = recipe(100, batch_size=2), recipe(100, batch_size=32)
    assert "data.batch_size" not in few
    assert many["train.learning_rate"] == pytest.approx(4 * few["train.learning_rate"])
    assert recipe(100, epochs=6)["augmentation.stage2_epochs"] == 3
    assert "train.epochs" not in recipe(100, epochs=6)


def test_every_choice_says_why() -> None:
    assert all(len(choice.reason) > 8 for choice in choose_recipe(61, start="detector"))


def test_new_class_layers_get_more_passes_and_a_higher_rate() -> None:
    known, new = recipe(61), recipe(61, new_classes=3)
    assert new["train.epochs"] > 2 * known["train.epochs"]  # type: ignore[operator]
    assert new["train.learning_rate"] == 2 * known["train.learning_rate"]  # type: ignore[operator]
    assert recipe(300, new_classes=3)["train.epochs"] == recipe(300)["train.epochs"]  # steps enough already
    passes = [recipe(60, new_classes=count)["train.epochs"] * 60 for count in (1, 5, 20, 200)]  # type: ignore[operator]
    assert passes == pytest.approx([6000, 12_000, 20_000, 20_000], abs=60)
    assert new["train.class_rate_factor"] > 1  # type: ignore[operator]
    assert "train.class_rate_factor" not in recipe(61)
    for start in ("backbone", "nothing"):
        assert recipe(61, start=start, new_classes=3) == recipe(61, start=start)


def test_several_new_classes_are_not_blended_in_short_runs() -> None:
    """Half-transparent objects confuse classes that have to be told apart; longer runs keep mixup."""
    key = "augmentation.mixup_probability"
    assert recipe(61, new_classes=2)[key] == recipe(61, new_classes=20)[key] == 0
    assert key not in recipe(61) | recipe(61, new_classes=1) | recipe(100_000, new_classes=6, epochs=2)


def test_a_backbone_alone_takes_more_passes_than_a_detector_and_fewer_than_nothing() -> None:
    passes = [recipe(61, start=start)["train.epochs"] for start in ("detector", "backbone", "nothing")]
    assert passes == sorted(set(passes))  # type: ignore[type-var]
    assert recipe(61, start="backbone")["train.clip_gradient"] == 35
    reasons = {choice.key: choice.reason for choice in choose_recipe(61, start="backbone")}
    assert "neck and head start from scratch" in reasons["train.epochs"]
    assert "neck and head start from scratch" in reasons["train.clip_gradient"]


def test_accumulated_batches_and_processes_make_fewer_and_larger_steps() -> None:
    alone, four = recipe(320, epochs=40), recipe(320, epochs=40, batches_per_step=4)
    assert four["train.learning_rate"] == 2 * alone["train.learning_rate"]  # type: ignore[operator]
    assert (alone["train.warmup_iterations"], four["train.warmup_iterations"]) == (80, 20)
    assert four["train.ema_momentum"] == pytest.approx(4 * alone["train.ema_momentum"], rel=0.05)  # type: ignore[operator]
