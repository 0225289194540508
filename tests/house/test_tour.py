"""docs/tour.md shows what runs: its examples are run, and its results compared."""

from __future__ import annotations

import doctest
from pathlib import Path

TOUR = Path(__file__).parents[2] / "docs" / "tour.md"


def test_the_tour_runs() -> None:
    failed, tried = doctest.testfile(
        str(TOUR), module_relative=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert failed == 0, "see the captured output"
    assert tried > 15
