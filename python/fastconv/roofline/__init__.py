"""The limits of the machine, measured: what a kernel's rate is held against."""

from __future__ import annotations

from fastconv.roofline.peak import Peak, machine_peak, peak_fma

__all__ = ["Peak", "machine_peak", "peak_fma"]
