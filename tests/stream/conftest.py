"""The detector of bright objects, for all tests of streams."""

import pytest
from bright import bright_detector

from rtmdet.detector import Detector


@pytest.fixture
def detector() -> Detector:
    return bright_detector()
