"""The limits of the machine, measured: what a kernel's rate is held against."""

from __future__ import annotations

from fastconv.lab.machine.bandwidth import Bandwidth, bandwidth, working_sets
from fastconv.lab.machine.peak import Peak, dtypes, machine_peak, peak_fma
from fastconv.lab.machine.roof import Roof, RoofError
from fastconv.lab.machine.roofline import Bound, Roofline, measure_roofline
from fastconv.lab.machine.setting import Setting, git_sha, made_with, setting

__all__ = [
    "Bandwidth",
    "Bound",
    "Peak",
    "Roof",
    "RoofError",
    "Roofline",
    "Setting",
    "bandwidth",
    "dtypes",
    "git_sha",
    "machine_peak",
    "made_with",
    "measure_roofline",
    "peak_fma",
    "setting",
    "working_sets",
]
