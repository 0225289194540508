"""Every picture: rooflines and layers under them, benchmarks, sweeps; matplotlib is imported to draw one."""

from __future__ import annotations

from fastconv.lab.draw.canvas import save, svg
from fastconv.lab.draw.layers import plot_losses, plot_profile
from fastconv.lab.draw.roofline import plot_rooflines

__all__ = ["plot_losses", "plot_profile", "plot_rooflines", "save", "svg"]
