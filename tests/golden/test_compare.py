"""All of the reference's own comparisons: weights, assignments, losses, training steps, trained weights on photos."""

from pathlib import Path

import pytest
from golden import adapter, reference

COMPARISONS = 162


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")  # compare.py sums the losses
def test_every_comparison_passes(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTMDET_SHARED", str(shared))
    passed = reference.compare_module().main(adapter, str(reference.HERE))
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert passed
    assert len(lines) >= COMPARISONS
    assert summary == f"{len(lines)} of {len(lines)} comparisons passed"
