"""How far a network is from what this machine can do, layer by layer, and why."""

from __future__ import annotations

from fastconv.lab import profile as _profile
from fastconv.lab.draw.layers import plot_losses, plot_profile
from fastconv.lab.profile import *  # noqa: F403
from fastconv.lab.report import report

__all__ = ["plot_losses", "plot_profile", "report"]
__all__ += _profile.__all__
