"""From a float network to a smaller, faster one: functions from graph to graph, and what they must know.

:func:`observe` says what values a network computes on data, :func:`quantize` makes a network of 8 bits,
:func:`optimize` one whose layers are in floats, bf16 or 8 bits, as is fastest within a budget of loss.
:func:`shrink` removes channels that are zeros, :func:`prune` those that matter least, and
:func:`sparsify` makes single weights or blocks of them zeros, which sparse kernels skip.
:func:`low_rank` splits layers in two, and :func:`share` gives weights few values to share, for small files.
:func:`binarize` makes weights signs and a scale.
"""

from fastconv.compress.agreement import Agreement
from fastconv.compress.binarize import Binarized, BinaryLayer, binarize
from fastconv.compress.low_rank import LowRank, SplitLayer, low_rank
from fastconv.compress.observer import Histogram, Statistics, observe
from fastconv.compress.optimizer import Optimized, optimize
from fastconv.compress.prune import Pruned, prune
from fastconv.compress.quantizer import Quantized, quantize
from fastconv.compress.report import LayerReport, Report
from fastconv.compress.search import Point
from fastconv.compress.sharing import Shared, SharedLayer, share
from fastconv.compress.shrink import Shrunk, shrink
from fastconv.compress.sparsify import SparseLayer, Sparsified, sparsify

__all__ = [
    "Agreement",
    "Binarized",
    "BinaryLayer",
    "Histogram",
    "LayerReport",
    "LowRank",
    "Optimized",
    "Point",
    "Pruned",
    "Quantized",
    "Report",
    "Shared",
    "SharedLayer",
    "Shrunk",
    "SparseLayer",
    "Sparsified",
    "SplitLayer",
    "Statistics",
    "binarize",
    "low_rank",
    "observe",
    "optimize",
    "prune",
    "quantize",
    "share",
    "shrink",
    "sparsify",
]
