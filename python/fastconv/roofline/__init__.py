"""The limits of the machine, measured: what a kernel's rate is held against."""

from __future__ import annotations

from fastconv.roofline.bandwidth import Bandwidth, bandwidth, working_sets
from fastconv.roofline.machine import Bound, Roofline, measure_roofline
from fastconv.roofline.peak import Peak, dtypes, machine_peak, peak_fma
from fastconv.roofline.plot import plot_rooflines
from fastconv.roofline.roof import Roof, RoofError

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
