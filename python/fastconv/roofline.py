"""The limits of the machine, measured: what a kernel's rate is held against."""

from __future__ import annotations

from fastconv.lab import machine
from fastconv.lab.draw.roofline import plot_rooflines
from fastconv.lab.machine import *  # noqa: F403

__all__ = ["plot_rooflines"]
__all__ += machine.__all__
