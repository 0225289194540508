"""Experiments: what every idea of the kernels is worth, measured on this machine.

``fastconv sweep`` is the usual way in. The functions here return plain frozen dataclasses: ``asdict`` makes
JSON of them, :func:`revive` makes them of it again, and :mod:`fastconv.sweep.plot` draws them.
"""

from __future__ import annotations

from fastconv.sweep.algorithms import AlgorithmMap, LayerTimes, square_layers, sweep_algorithms
from fastconv.sweep.blocking import BlockingSweep, Candidate, Traffic, predict_traffic, sweep_blocking
from fastconv.sweep.conv_blocking import Choice, ConvBlocking, LayerBlocks, sweep_conv_blocking
from fastconv.sweep.measure import Setting, revive
from fastconv.sweep.network import network_layers
from fastconv.sweep.scaling import (
    Scaling,
    SizeSweep,
    Speedup,
    ThreadSweep,
    sweep_sizes,
    sweep_threads,
)
from fastconv.sweep.stairs import Staircase, Step, staircase
from fastconv.sweep.tiles import Tile, TileSweep, sweep_tiles

__all__ = [
    "AlgorithmMap",
    "BlockingSweep",
    "Candidate",
    "Choice",
    "ConvBlocking",
    "LayerBlocks",
    "LayerTimes",
    "Scaling",
    "Setting",
    "SizeSweep",
    "Speedup",
    "Staircase",
    "Step",
    "ThreadSweep",
    "Tile",
    "TileSweep",
    "Traffic",
    "network_layers",
    "predict_traffic",
    "revive",
    "square_layers",
    "staircase",
    "sweep_algorithms",
    "sweep_blocking",
    "sweep_conv_blocking",
    "sweep_sizes",
    "sweep_threads",
    "sweep_tiles",
]
