"""How far a network is from what this machine can do, layer by layer, and why."""

from __future__ import annotations

from fastconv.profiler.counters import CountedTraffic, count_traffic
from fastconv.profiler.counting import Work, work_of
from fastconv.profiler.layers import Count, LayerCount, LayerProfile, Profile
from fastconv.profiler.measure import count, profile
from fastconv.profiler.plot import plot_losses, plot_profile
from fastconv.profiler.report import report
from fastconv.profiler.zoo import PUBLISHED, Published, zoo

__all__ = [
    "PUBLISHED",
    "Count",
    "CountedTraffic",
    "LayerCount",
    "LayerProfile",
    "Profile",
    "Published",
    "Work",
    "count",
    "count_traffic",
    "plot_losses",
    "plot_profile",
    "profile",
    "report",
    "work_of",
    "zoo",
]
