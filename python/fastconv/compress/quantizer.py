"""A float network to one of 8 bits: the steps of quantising after training, in their order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fastconv._arguments import flag, integer, number, shown
from fastconv.compress.insert import insert_conversions
from fastconv.compress.prepare import graph_of
from fastconv.compress.ranges import RANGES
from fastconv.compress.report import Report, report_of
from fastconv.compress.result import Result
from fastconv.compress.rounding import CORRECTED, observed_network, remarks, rounded_network
from fastconv.compress.samples import SAMPLES, Prepare, check_of, samples_of
from fastconv.compress.scheme import scheme_of
from fastconv.compress.sensitivity import costliest, output_snr, sensitivities
from fastconv.errors import ArgumentError


@dataclass(frozen=True)
class Quantized(Result):
    """A network of 8 bits: its graph in QDQ form, and what it lost.

    Attributes
    ----------
    graph : Graph
        In ONNX's words: any runtime can run it.
    report : Report
    """

    report: Report
    _facts: ClassVar[dict[str, str]] = {"fastconv.quantized": "u8 activations, s8 weights per channel"}


def quantize(
    model: Any,
    data: Any,
    *,
    prepare: Prepare | None = None,
    samples: int = SAMPLES,
    labels: Sequence[int] | None = None,
    portable: bool = True,
    equalize: bool = True,
    compensate: bool = True,
    correct: bool = True,
    ranges: str = "auto",
    exclude: Collection[str] = (),
    exclude_ops: Collection[str] = (),
    min_snr: float | None = None,
    sensitivity: bool = False,
    timed: bool = False,
    check: Any = None,
) -> Quantized:
    """Make a network of 8 bits of one of floats, without training.

    Weights become s8 with a scale for each output channel, the values between the layers u8 with a scale for
    each tensor.

    Parameters
    ----------
    model : Model, Graph or path
        A network of :mod:`fastconv.models`, of :func:`fastconv.load` or :func:`fastconv.from_torch`, or an
        ``.onnx`` file.
    data : path, array, or iterable of arrays or of mappings
        What the network is observed on, without labels: a folder of photos, a ``.npy`` file, an array with
        samples along the first axis, or mappings from input names to arrays. 100 to 300 samples of what it
        will be used for are enough.
    prepare : callable, optional
        Makes the input of a photo's path; by default as networks trained on ImageNet want it.
    samples : int
        How many samples are taken at the most.
    labels : sequence of int, optional
        The right class of each sample of ``check``, for the report.
    portable : bool
        Keep neighbouring weights small enough that no engine saturates on any processor. Without it, weights
        are a little more exact, and wrong in other engines on processors without VNNI.
    equalize : bool
        Share factors between neighbouring layers, so that all channels of a tensor reach equally far.
    compensate : bool
        Round the weights of a layer one after another, each error made good by those that follow.
    correct : bool
        Take back by the biases what rounding shifts each channel by.
    ranges : {"auto", "minmax", "percentile", "mse"}
        How the range of a tensor is chosen; by default whichever leaves the least error in that tensor.
    exclude : collection of str
        Layers that stay in float, by the names of nodes or of their results.
    exclude_ops : collection of str
        Operators that do, as "Gemm".
    min_snr : float, optional
        The signal-to-noise that the network's results must have, in decibels: the layers that cost most stay
        in float until they do.
    sensitivity : bool
        Measure for the report what each layer costs at the network's results if it alone is rounded.
    timed : bool
        Measure for the report what each layer takes here, in floats and in 8 bits.
    check : path, array, or iterable, optional
        Other samples for the report; by default those of ``data``.

    Returns
    -------
    Quantized
        With its ``graph``, ``model()``, ``save(path)`` and ``report``.

    Raises
    ------
    ArgumentError
        Where there are no data, or NaN among them or among what comes of them, or the network is quantised.
    ShapeError, DTypeError
        Where the data do not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.models import squeezenet1_1
    >>> model = squeezenet1_1(squeezenet1_1.random_weights())
    >>> x = np.random.default_rng(0).standard_normal((4, 3, 64, 64), np.float32)
    >>> result = quantize(model, x)
    >>> result.model()(x).shape
    (4, 1000)
    >>> result.report.outputs[0].snr > 10
    True
    """
    portable, equalize = flag("portable", portable), flag("equalize", equalize)
    compensate, correct = flag("compensate", compensate), flag("correct", correct)
    sensitivity, timed = flag("sensitivity", sensitivity), flag("timed", timed)
    if ranges not in ("auto", *RANGES):
        raise ArgumentError(f"ranges: expected 'auto', {', '.join(map(repr, RANGES))}, got {shown(ranges)}")
    least = None if min_snr is None else number("min_snr", min_snr)
    given = graph_of(model)
    taken = samples_of(data, given, prepare=prepare, limit=integer("samples", samples, 1))
    checked = check_of(check, taken, labels, given, prepare)
    network = observed_network(given, taken, exclude, exclude_ops, equalize=equalize)
    methods = RANGES if ranges == "auto" else (ranges,)
    graph, scheme = network.graph, network.scheme
    costly: list[str] = []
    while True:
        rounded = rounded_network(
            replace(network, scheme=scheme), taken, methods,
            portable=portable, compensate=compensate, correct=correct,
        )  # fmt: skip
        result = insert_conversions(graph, scheme, rounded.ranges, rounded.weights, rounded.biases)
        if least is None or not scheme.products:
            break
        # On samples that no weight was fitted to, as far as there are any.
        reached = output_snr(graph, result, taken.beyond(CORRECTED).first(CORRECTED))
        if reached >= least:
            break
        costly += costliest(sensitivities(graph, rounded, taken), least, reached)
        scheme = scheme_of(graph, [*exclude, *costly], exclude_ops)
    reasons = dict(scheme.kept) | {name: "it costs too much signal" for name in costly}
    rounded = replace(rounded, scheme=replace(scheme, kept=reasons))
    alone = sensitivities(graph, rounded, taken) if sensitivity else {}
    report = report_of(
        given, graph, result, rounded, checked, labels, alone, remarks=remarks(network, taken), timed=timed
    )
    return Quantized(result, report)
