"""The picture of F1 over the score: who is named, and when it is drawn."""

import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from rtmdet.core.errors import InputError
from rtmdet.evaluation.coco import ClassMetrics, CocoMetrics
from rtmdet.evaluation.score_curve import THRESHOLDS, ScoreCurve
from rtmdet.training.records import ValidationRecord
from rtmdet.viz.score_curves import ScoreCurvePicture, draw_score_curves


def row(name: str, objects: int = 5) -> ClassMetrics:
    """A class whose F1 falls with the score."""
    falling = tuple(1 - score for score in THRESHOLDS)
    return ClassMetrics(name, objects, 0.5, 0.6, ScoreCurve(falling, falling, 0.25))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved."""
    saved: list[Figure] = []
    original = Figure.savefig

    def keep(figure: Figure, *arguments: object, **options: object) -> None:
        saved.append(figure)
        original(figure, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def test_the_classes_with_most_objects_are_named(tmp_path: Path, figures: list[Figure]) -> None:
    classes = [row(f"class {number}", number) for number in range(1, 13)]
    draw_score_curves([*classes, ClassMetrics("unknown", 99, -1, -1)], tmp_path / "f1.png")
    axes, trade = figures[0].axes
    assert axes.get_legend() is None, "it would cover curves"
    (legend,) = figures[0].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert [text.split(":")[0] for text in texts] == [f"class {number}" for number in range(12, 4, -1)]
    assert texts[0] == "class 12: 0.250 (F1 0.750, precision 0.750, recall 0.750, 12 objects)"
    for panel in (axes, trade):
        assert len([line for line in panel.lines if len(line.get_xdata()) > 1]) == 12  # type: ignore[arg-type]
    assert trade.lines[-1].get_xydata().tolist() == [[0.75, 0.75]]  # type: ignore[union-attr]


def test_without_a_curve_the_picture_says_so(tmp_path: Path, figures: list[Figure]) -> None:
    draw_score_curves([ClassMetrics("cat", 0, -1, -1)], tmp_path / "f1.png")
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["nothing found yet"]


def test_observer_draws_the_best_validation_only(tmp_path: Path, figures: list[Figure]) -> None:
    picture = ScoreCurvePicture(tmp_path / "f1.png")
    metrics = CocoMetrics((0.5,) * 12, (row("cat"),))
    picture.on_validation(ValidationRecord(1, 3, metrics, best=False, input_size=(64, 64)))
    assert not figures
    picture.on_validation(ValidationRecord(2, 6, metrics, best=True, input_size=(64, 64)))
    assert len(figures) == 1
    assert (tmp_path / "f1.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("name", "words"), [("folder/f1.png", "cannot be written"), ("f1.txt", r"expected a name that ends in \.png")]
)
def test_a_picture_that_cannot_be_written_is_an_input_error(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(InputError, match=words):
        draw_score_curves([row("cat")], tmp_path / name)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_few_classes_have_thresholds_at_their_curves(tmp_path: Path, figures: list[Figure], count: int) -> None:
    draw_score_curves([row(f"class {number}", number) for number in range(1, count + 1)], tmp_path / "f1.png")
    texts = [text.get_text() for text in figures[0].axes[1].texts if text.get_text()]
    assert texts == [f"0.{number}" for number in range(1, 10)] * (count if count <= 3 else 0)


def test_letters_of_any_script_give_no_warning(tmp_path: Path) -> None:
    """matplotlib's own font lacks most of them: a font of the system has them, or they are drawn as squares."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_score_curves([row("血球", 3), row("कोशिका", 2)], tmp_path / "f1.png")
    assert (tmp_path / "f1.png").stat().st_size > 10_000
