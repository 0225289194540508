"""The limits of the machine, measured: what a kernel's rate is held against."""

from __future__ import annotations

from fastconv.lab.draw.roofline import plot_rooflines
from fastconv.lab.machine import (
    Bandwidth,
    Bound,
    Peak,
    Roof,
    RoofError,
    Roofline,
    bandwidth,
    dtypes,
    machine_peak,
    measure_roofline,
    peak_fma,
    working_sets,
)

__all__ = [
    "Bandwidth",
    "Bound",
    "Peak",
    "Roof",
    "RoofError",
    "Roofline",
    "bandwidth",
    "dtypes",
    "machine_peak",
    "measure_roofline",
    "peak_fma",
    "plot_rooflines",
    "working_sets",
]
