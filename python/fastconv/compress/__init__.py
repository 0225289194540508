"""From a float network to a smaller, faster one: functions from graph to graph, and what they must know.

:func:`observe` says what values a network computes on data, :func:`quantize` makes a network of 8 bits.
"""

from fastconv.compress.agreement import Agreement
from fastconv.compress.observer import Histogram, Statistics, observe
from fastconv.compress.quantizer import Quantized, quantize
from fastconv.compress.report import LayerReport, Report

__all__ = [
    "Agreement",
    "Histogram",
    "LayerReport",
    "Quantized",
    "Report",
    "Statistics",
    "observe",
    "quantize",
]
