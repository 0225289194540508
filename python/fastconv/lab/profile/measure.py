"""Counting and timing a network, layer by layer."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import _core
from fastconv._arguments import number, shown
from fastconv._threads import as_count
from fastconv._threads import threads as with_threads
from fastconv.errors import ArgumentError, DTypeError
from fastconv.graph.context import Step
from fastconv.graph.ir import TensorInfo
from fastconv.graph.model import Model
from fastconv.graph.options import checked_input, checked_shape
from fastconv.graph.program import Program
from fastconv.graph.table import described
from fastconv.graph.value import BYTES, Constant
from fastconv.importers import from_torch
from fastconv.lab.machine import MEASURED, Roof, Roofline, measure_roofline
from fastconv.lab.profile.counters import count_traffic
from fastconv.lab.profile.counting import FLOAT, Work, work_of
from fastconv.lab.profile.layers import Count, LayerCount, LayerProfile, Profile
from fastconv.lab.profile.weights import elements_of, saturating_pairs

LEAST_RUNS = 5


def count(model: Model | Any, *shapes: Sequence[int] | Any) -> Count:
    """Count a network's parameters, multiply-accumulates, FLOPs and bytes, layer by layer.

    Parameters
    ----------
    model : Model or torch.nn.Module
        From :func:`fastconv.load` or :mod:`fastconv.models`; a module goes through
        :func:`fastconv.from_torch`.
    *shapes : sequence of int, array or tensor
        The shape of each input, or an example of it. None: those that the model declares (a batch of 1), or
        of its last run; a module declares none.

    Returns
    -------
    Count
        ``layers``, ``totals``, ``rows()`` for pandas, ``table()``; in a notebook a table.

    Raises
    ------
    ArgumentError
        Where a shape is needed and none is given.
    UnsupportedOpError
        Where a step has no rule; nothing is counted as zero in silence.
    ModelError, MissingPackageError
        As for :func:`fastconv.from_torch`.

    Notes
    -----
    The definitions are in :mod:`fastconv.lab.profile.counting`.

    Examples
    --------
    >>> from fastconv.models import resnet18
    >>> found = count(resnet18(resnet18.random_weights()), (1, 3, 224, 224))
    >>> found.params, found.totals["macs"]
    (11689512, 1814073344)
    """
    model = model_of(model, shapes)
    program = model.program(*map(shape_of, shapes))
    if program.waits_for_values:
        program.run(arrays_for(model, shapes))
    return Count(model.name, model.parameters, _counted(program))


def profile(
    model: Model | Any,
    *inputs: npt.NDArray[Any] | Sequence[int] | Any,
    threads: int | None = None,
    seconds: float = 2.0,
    roofline: Roofline | None = None,
) -> Profile:
    """Time a network layer by layer, and hold each against the machine's roofline.

    Parameters
    ----------
    model : Model or torch.nn.Module
        As for :func:`count`.
    *inputs : array, tensor or sequence of int
        An array for each input, or its shape, for random numbers. None: as for :func:`count`.
    threads : int, optional
        Threads to run on; ``fastconv.get_num_threads()`` when omitted.
    seconds : float, default 2
        For how long to run, at least five times.
    roofline : Roofline, optional
        What to hold the layers against; measured when omitted (:func:`fastconv.roofline.measure_roofline`).

    Returns
    -------
    Profile
        ``layers`` with times, rates, the roof that binds, the time at that roof and what is lost; ``totals``;
        ``rows()`` for pandas; ``table()``; in a notebook a table.

    Raises
    ------
    RoofError
        Where a layer's executed work is faster than the machine's peak: a bug of the counting, never a win.
    ArgumentError, UnsupportedOpError, ModelError, MissingPackageError
        As for :func:`count`.

    Notes
    -----
    Runs with and without the profiler take turns. A layer's time is the fastest of all runs; it is held
    against the time that its executed FLOPs need at the peak of their arithmetic (FMAs, or products of bytes,
    or of 16 bits), or its bytes from the nearest level of the memory that holds all of them, whichever is
    longer. ``traffic`` of the result has the cache misses that
    the processor counted, where the kernel allows it, or why not. Where a batch runs in parts beside each
    other, a layer's time is that of all threads divided by their number.

    Examples
    --------
    >>> from fastconv.models import mobilenet_v2
    >>> model = mobilenet_v2(mobilenet_v2.random_weights())
    >>> found = profile(model, (1, 3, 64, 64), threads=1, seconds=0.1)
    >>> found.totals["ms"] > found.totals["ideal_ms"] > 0
    True
    """
    used = _core.get_num_threads() if threads is None else as_count("threads", threads)
    seconds = number("seconds", seconds)
    if not 0 <= seconds < math.inf:
        raise ArgumentError(f"seconds: expected a finite time of 0 or more, got {seconds}")
    if roofline is not None and not isinstance(roofline, Roofline):
        raise DTypeError(f"roofline: expected a Roofline or None, got {shown(roofline)}")
    model = model_of(model, inputs)
    with with_threads(used):
        roof = measure_roofline(threads=used) if roofline is None else roofline
        arrays = arrays_for(model, inputs)
        program = model.program(*(a.shape for a in arrays))
        times, plain, profiled = timed_runs(program, arrays, seconds)
        traffic = count_traffic(lambda: program.run(arrays))
        counts, of_steps = _counted(program), list(zip(*times, strict=True))
        held = Roof.of(roof.peak, roof.narrow, again=roofline is None)
        measured = {"f32", *(MEASURED[counted.arithmetic] for counted in counts)}
        for dtype in sorted(measured):
            held.raise_to(0.05, dtype)  # the clock may be higher than before the runs
        for counted, step_times in zip(counts, of_steps, strict=True):
            rate = counted.executed_flops / min(step_times) * 1e-9
            held.hold(f"layer {counted.name!r}", rate, counted.arithmetic)
    raised = roof.raised(held)
    if raised != roof:
        roof = raised
        roof.keep()
    layers = []
    for counted, step_times in zip(counts, of_steps, strict=True):
        best = min(step_times)
        bound = roof.bound(counted.executed_flops, counted.bytes, counted.arithmetic)
        layers.append(
            LayerProfile(
                **vars(counted),
                ms=1e3 * best,
                median_ms=1e3 * statistics.median(step_times),
                roof=bound.roof,
                ideal_ms=1e3 * bound.seconds,
            )
        )
    return Profile(
        model.name,
        model.parameters,
        tuple(layers),
        roof,
        1e3 * min(plain),
        statistics.median(sum(steps) / run for steps, run in zip(times, profiled, strict=True)),
        statistics.median(run / other for run, other in zip(profiled, plain, strict=True)) - 1,
        len(times),
        traffic,
    )


def step_seconds(
    model: Model | Any,
    *inputs: npt.NDArray[Any] | Sequence[int] | Any,
    threads: int | None = None,
    seconds: float = 0.5,
) -> tuple[Program, list[float]]:
    """Return a network's program and the fastest time of each step; arguments as for :func:`profile`."""
    with with_threads(_core.get_num_threads() if threads is None else as_count("threads", threads)):
        model = model_of(model, inputs)
        arrays = arrays_for(model, inputs)
        program = model.program(*(a.shape for a in arrays))
        times, _, _ = timed_runs(program, arrays, seconds)
    return program, [min(of_step) for of_step in zip(*times, strict=True)]


def timed_runs(
    program: Program, arrays: list[Any], seconds: float
) -> tuple[list[list[float]], list[float], list[float]]:
    """Run in turns: the seconds of each step of the profiled runs, of all plain and of all profiled runs."""
    program.run(arrays)
    steps: list[list[float]] = []
    plain: list[float] = []
    profiled: list[float] = []
    start = time.perf_counter()
    while len(steps) < LEAST_RUNS or time.perf_counter() < start + seconds:
        before = time.perf_counter()
        program.run(arrays)
        between = time.perf_counter()
        steps.append(program.run_profiled(arrays)[1])
        plain.append(between - before)
        profiled.append(time.perf_counter() - between)
    return steps, plain, profiled


def model_of(model: Model | Any, inputs: Sequence[Any]) -> Model:
    """Return a model as it is, and of a torch module the model for these inputs."""
    if isinstance(model, Model):
        return model
    if not callable(getattr(model, "forward", None)):
        raise DTypeError(f"model: expected a Model or a torch.nn.Module, got {type(model).__name__}")
    if not inputs:
        raise ArgumentError(
            "shapes: expected the input shapes, which a torch module does not declare, got none"
        )
    example = tuple(x if hasattr(x, "shape") else np.zeros(shape_of(x), np.float32) for x in inputs)
    return from_torch(model, example, dynamic_batch=False)


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape that is given, or that of an array or a tensor."""
    return x.shape if isinstance(x, np.ndarray) else checked_shape("shapes", getattr(x, "shape", x))


def arrays_for(model: Model, inputs: Sequence[Any]) -> list[npt.NDArray[Any]]:
    """Return the arrays to run on: those given, or random ones of the shapes given or planned."""
    if inputs and len(inputs) != len(model.inputs):
        raise ArgumentError(f"inputs: expected {len(model.inputs)} arrays or shapes, got {len(inputs)}")
    rng = np.random.default_rng(0)
    given = inputs or model.planned_shapes
    bound = model.program(*map(shape_of, given)).bound
    arrays = []
    for info, x in zip(model.inputs, given, strict=True):
        if hasattr(x, "shape"):
            x = x.detach() if hasattr(x, "detach") else x
            arrays.append(np.asarray(checked_input(info, x), order="C"))
        elif info.name in bound:  # a value that the program was made for: no other fits it
            arrays.append(np.asarray(bound[info.name], order="C"))
        else:
            arrays.append(random_input(info, shape_of(x), rng))
    return arrays


def random_input(
    info: TensorInfo, shape: tuple[int, ...], rng: np.random.Generator | None = None
) -> npt.NDArray[Any]:
    """Return random numbers for an input; zeros where integers may be indices or sizes."""
    rng, dtype = np.random.default_rng(0) if rng is None else rng, info.dtype
    if dtype.kind == "b" or dtype.itemsize == 1:
        limits = np.iinfo(dtype) if dtype.kind in "iu" else None
        low, high = (0, 1) if limits is None else (limits.min, limits.max)
        return rng.integers(low, high, shape, endpoint=True).astype(dtype)
    if dtype.kind in "iu":
        return np.zeros(shape, dtype)
    return rng.standard_normal(shape, dtype=np.float32).astype(dtype)


def _counted(program: Program) -> tuple[LayerCount, ...]:
    constants, weights = program.constants, program.weights
    lanes = _core.cpu_info()["tiers"]["lanes"][_core.active_tier()]
    seen: set[str] = set()  # parameters of layers before
    return tuple(
        _layer(program, step, constants, work_of(step, weights, lanes, stage.times), seen)
        for stage in program.stages
        for step in stage.steps
    )


def _layer(
    program: Program, step: Step, constants: Mapping[str, Constant], work: Work, seen: set[str]
) -> LayerCount:
    node = step.node
    names = (node.name, *node.absorbed)
    params = {k: n for name in names for k, n in program.parameters.get(name, {}).items() if k not in seen}
    seen.update(params)
    narrow = sum(n for k, n in params.items() if k in constants and constants[k].dtype in BYTES)
    saturating, pairs = saturating_pairs(step, constants)
    x = next((t for t in step.inputs if t is not None), step.output)
    return LayerCount(
        " ".join(names),
        described(step),
        step.algorithm,
        step.params[0].tile if step.is_convolution else "",
        elements_of(step, constants),
        x.shape,
        step.output.shape,
        sum(params.values()),
        FLOAT * (sum(params.values()) - narrow) + narrow,
        work.macs,
        work.flops,
        work.executed_flops,
        work.bytes,
        work.predicted_bytes,
        work.arithmetic,
        pairs,
        saturating,
    )
