"""How far a network is from what this machine can do, layer by layer, and why."""

from __future__ import annotations

from fastconv.lab.draw.layers import plot_losses, plot_profile
from fastconv.lab.profile import (
    PUBLISHED,
    Count,
    CountedTraffic,
    LayerCount,
    LayerProfile,
    Profile,
    Published,
    Work,
    count,
    count_traffic,
    profile,
    work_of,
    zoo,
)
from fastconv.lab.report import report

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
