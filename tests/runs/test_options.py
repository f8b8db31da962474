"""The options of a run: which one is resumed, and settings that are given as a section."""

from pathlib import Path

import pytest

from rtmdet.core.errors import InputError
from rtmdet.runs.options import RunOptions, run_to_resume, split_section

RUN = Path("a")


@pytest.mark.parametrize("name", ["last.pth", "last.waiting.pth", "config.yaml"])
def test_a_run_may_be_named_by_what_it_continues_from(name: str) -> None:
    assert run_to_resume(RUN / name, config=None, data=None, output=None) == RUN


@pytest.mark.parametrize("name", ["previous.pth", "best.pth", "epoch_0001.pth", "other.yaml"])
def test_other_files_of_a_run_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"a/{name} to resume: a run continues from its last\.pth: give its folder"):
        run_to_resume(RUN / name, config=None, data=None, output=None)


@pytest.mark.parametrize("setting", ["train.output=b", "train={output: b}"])
def test_a_run_continues_in_its_own_folder(setting: str) -> None:
    with pytest.raises(InputError, match=r"a to resume and train\.output b: expected one of them"):
        RunOptions(run=RUN, overrides=(setting,))
    own = setting.replace("b", str(RUN.absolute()))
    assert RunOptions(run=RUN, overrides=(own,)).config == RUN / "config.yaml"


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("train={output: 010, epochs: 1}", ["train.output=010", "train.epochs=1"]),
        ("train={output: 1:30}", ["train.output=1:30"]),
        ("data={classes: [007, 'a b'], input_size: 320}", ["data.classes=[007, 'a b']", "data.input_size=320"]),
        ("data={train: {images: ä}}", ["data.train.images=ä"]),
        ("train.output={a: 1}", ["train.output={a: 1}"]),
        ("train={", ["train={"]),
    ],
)
def test_a_section_is_split_as_it_is_written(section: str, settings: list[str]) -> None:
    assert list(split_section(section)) == settings
