"""Experiments: what every idea of the kernels is worth, measured on this machine.

``fastconv sweep`` is the usual way in. The functions here return plain frozen dataclasses: ``asdict`` makes
JSON of them, :func:`revive` makes them of it again, and ``fastconv.sweep.plot`` draws them.
"""

from __future__ import annotations

from fastconv.lab.draw import sweeps as plot
from fastconv.lab.sweeps import (
    AlgorithmMap,
    BlockingSweep,
    Candidate,
    Choice,
    ConvBlocking,
    LayerBlocks,
    LayerTimes,
    Scaling,
    Setting,
    SizeSweep,
    Speedup,
    Staircase,
    Step,
    ThreadSweep,
    Tile,
    TileSweep,
    Traffic,
    network_layers,
    predict_traffic,
    revive,
    square_layers,
    staircase,
    sweep_algorithms,
    sweep_blocking,
    sweep_conv_blocking,
    sweep_sizes,
    sweep_threads,
    sweep_tiles,
)

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
    "plot",
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
