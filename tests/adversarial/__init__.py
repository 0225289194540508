"""Models that somebody made to hurt who loads them, and the means to try them safely.

:func:`malformed` returns the table of malformed models, :mod:`~adversarial.sandbox` runs one in a process
with limits, ``PYTHONPATH=tests python -m adversarial`` tries as many mutants of whole networks as it is told
to (docs/trust.md).
"""

from __future__ import annotations

from adversarial.case import Case


def malformed() -> list[Case]:
    """Return every malformed model; needs the package ``onnx``."""
    from adversarial.files import file_cases
    from adversarial.graphs import graph_cases
    from adversarial.values import value_cases
    from adversarial.windows import window_cases

    return [*graph_cases(), *window_cases(), *value_cases(), *file_cases()]
