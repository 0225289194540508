"""The limits of the machine, measured: what a kernel's rate is held against."""

from __future__ import annotations

from fastconv.roofline.bandwidth import Bandwidth, bandwidth, working_sets
from fastconv.roofline.machine import Bound, RoofError, Roofline, measure_roofline
from fastconv.roofline.peak import Peak, machine_peak, peak_fma
from fastconv.roofline.plot import plot_rooflines

__all__ = [
    "Bandwidth",
    "Bound",
    "Peak",
    "RoofError",
    "Roofline",
    "bandwidth",
    "machine_peak",
    "measure_roofline",
    "peak_fma",
    "plot_rooflines",
    "working_sets",
]
