"""The limits of the machine, measured: what a kernel's rate is held against."""

from __future__ import annotations

from fastconv.lab.machine.bandwidth import Bandwidth, bandwidth, working_sets
from fastconv.lab.machine.peak import MEASURED, Peak, by_arithmetic, dtypes, machine_peak, peak_fma
from fastconv.lab.machine.roof import Roof, RoofError
from fastconv.lab.machine.roofline import Bound, Roofline, measure_roofline

__all__ = [
    "MEASURED",
    "Bandwidth",
    "Bound",
    "Peak",
    "Roof",
    "RoofError",
    "Roofline",
    "bandwidth",
    "by_arithmetic",
    "dtypes",
    "machine_peak",
    "measure_roofline",
    "peak_fma",
    "working_sets",
]
