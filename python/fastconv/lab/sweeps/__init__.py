"""Experiments: what every idea of the kernels is worth, measured on this machine.

Results are plain frozen dataclasses: ``asdict`` makes JSON of them, :func:`revive` makes them of it again,
and :mod:`fastconv.lab.draw.sweeps` draws them.
"""

from __future__ import annotations

from fastconv.lab.machine.setting import Setting
from fastconv.lab.sweeps.algorithms import AlgorithmMap, LayerTimes, square_layers, sweep_algorithms
from fastconv.lab.sweeps.blocking import BlockingSweep, Candidate, Traffic, predict_traffic, sweep_blocking
from fastconv.lab.sweeps.checked import revive
from fastconv.lab.sweeps.conv_blocking import Choice, ConvBlocking, LayerBlocks, sweep_conv_blocking
from fastconv.lab.sweeps.network import network_layers
from fastconv.lab.sweeps.scaling import (
    Scaling,
    SizeSweep,
    Speedup,
    ThreadSweep,
    sweep_sizes,
    sweep_threads,
)
from fastconv.lab.sweeps.sparse import SparseSweep, SparseTimes, sweep_sparse
from fastconv.lab.sweeps.stairs import Staircase, Step, staircase
from fastconv.lab.sweeps.tiles import Tile, TileSweep, sweep_tiles

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
    "SparseSweep",
    "SparseTimes",
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
    "sweep_sparse",
    "sweep_threads",
    "sweep_tiles",
]
