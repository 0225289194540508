"""Models that somebody made to hurt who loads them, and the means to try them safely.

:func:`malformed` returns the table of malformed models, :mod:`~fastconv.testing.hostile.sandbox` runs one in
a process with limits, ``python -m fastconv.testing.hostile`` tries as many mutants of whole networks as it is
told to (docs/trust.md).
"""

from __future__ import annotations

from fastconv.testing.hostile.case import Case


def malformed() -> list[Case]:
    """Return every malformed model; needs the package ``onnx``."""
    from fastconv.testing.hostile.files import file_cases
    from fastconv.testing.hostile.graphs import graph_cases
    from fastconv.testing.hostile.values import value_cases
    from fastconv.testing.hostile.windows import window_cases

    return [*graph_cases(), *window_cases(), *value_cases(), *file_cases()]
