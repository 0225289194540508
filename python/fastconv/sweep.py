"""Experiments: what every idea of the kernels is worth, measured on this machine.

``fastconv sweep`` is the usual way in. The functions here return plain frozen dataclasses: ``asdict`` makes
JSON of them, :func:`revive` makes them of it again, and ``fastconv.sweep.plot`` draws them.
"""

from __future__ import annotations

from fastconv.lab import sweeps
from fastconv.lab.draw import sweeps as plot
from fastconv.lab.sweeps import *  # noqa: F403

__all__ = ["plot"]
__all__ += sweeps.__all__
