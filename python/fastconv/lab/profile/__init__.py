"""How far a network is from what this machine can do, layer by layer, and why."""

from __future__ import annotations

from fastconv.lab.profile.counters import CountedTraffic, count_traffic
from fastconv.lab.profile.counting import Work, work_of
from fastconv.lab.profile.layers import Count, LayerCount, LayerProfile, Profile
from fastconv.lab.profile.measure import count, profile, random_input, step_seconds
from fastconv.lab.profile.trace import trace
from fastconv.lab.profile.zoo import PUBLISHED, Published, zoo

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
    "profile",
    "random_input",
    "step_seconds",
    "trace",
    "work_of",
    "zoo",
]
