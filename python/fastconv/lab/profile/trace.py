"""A run on a time line: its steps, and what each thread did, in the trace event format.

``chrome://tracing`` and ui.perfetto.dev show it. The format is Google's: "Trace Event Format", complete
events ("X") in microseconds.
"""

from __future__ import annotations

import bisect
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fastconv import _core
from fastconv._threads import threads as with_threads
from fastconv.graph.context import Step
from fastconv.graph.model import Model
from fastconv.graph.program import Program
from fastconv.graph.table import described
from fastconv.lab.profile.measure import arrays_for, model_of

STEPS = 0  # the line of the steps; the others have the numbers of threads, which are above it


def trace(
    model: Model | Any,
    *inputs: npt.NDArray[Any] | Sequence[int] | Any,
    threads: int | None = None,
    runs: int = 3,
) -> dict[str, Any]:
    """Trace some runs of a network, after one that is not traced.

    Parameters
    ----------
    model, inputs, threads
        As for :func:`fastconv.profile`.
    runs : int
        How many runs follow each other on the time line.

    Returns
    -------
    dict
        For :func:`json.dump`: ``traceEvents`` and ``otherData``. A line has the steps, and one for each
        thread the shares of their loops that it ran. Steps of a batch that runs in parts beside each other
        are drawn one after another, with the time of all threads divided by their number.

    Raises
    ------
    ArgumentError, DTypeError, ShapeError
        As for :func:`fastconv.profile`.

    Examples
    --------
    >>> from fastconv.models import squeezenet1_1
    >>> found = trace(squeezenet1_1(squeezenet1_1.random_weights()), (1, 3, 64, 64), runs=1)
    >>> {event["ph"] for event in found["traceEvents"]} == {"M", "X"}
    True
    """
    model = model_of(model, inputs)
    with with_threads(_core.get_num_threads() if threads is None else threads):
        arrays = arrays_for(model, inputs)
        program = model.program(*(a.shape for a in arrays))
        program.run(arrays)
        used = _core.get_num_threads()
        _core.start_share_trace()
        try:
            times = [_timed(program, arrays) for _ in range(runs)]
        finally:
            shares = _core.stop_share_trace()
    steps = program.steps
    begun = [event for start, seconds in times for event in _steps(steps, start, seconds)]
    first = min((event["ts"] for event in begun), default=0.0)
    events = _names(model.name, sorted({thread for thread, *_ in shares}))
    for event in [*begun, *_shares(shares, begun)]:
        events.append(event | {"ts": event["ts"] - first})
    facts = {"model": model.name, "threads": used, "tier": _core.active_tier(), "runs": runs}
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": facts}


def _timed(program: Program, arrays: list[npt.NDArray[Any]]) -> tuple[float, list[float]]:
    """Run, and return when the first step began, in microseconds, and the seconds of each step."""
    seconds = program.run_profiled(arrays)[1]
    return time.monotonic_ns() * 1e-3 - 1e6 * sum(seconds), seconds


def _event(name: str, thread: int, start: float, duration: float, args: dict[str, Any]) -> dict[str, Any]:
    about = {"name": name, "ph": "X", "pid": os.getpid(), "tid": thread}
    return {**about, "ts": start, "dur": duration, "args": args}


def _steps(steps: Sequence[Step], start: float, seconds: Sequence[float]) -> list[dict[str, Any]]:
    events = []
    for step, taken in zip(steps, seconds, strict=True):
        facts = {
            "algorithm": step.algorithm,
            "nodes": " ".join((step.node.name, *step.node.absorbed)),
            "output": str(step.output.shape),
        }
        events.append(_event(described(step), STEPS, start, 1e6 * taken, facts))
        start += 1e6 * taken
    return events


def _shares(
    shares: Sequence[tuple[int, int, int, int]], steps: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return an event for each share, with the name of the step in which it began."""
    starts = [event["ts"] for event in steps]
    events = []
    for thread, share, begin, end in shares:
        at = max(0, bisect.bisect_right(starts, 1e-3 * begin) - 1)
        name = steps[at]["name"] if steps else "share"
        events.append(_event(name, thread, 1e-3 * begin, 1e-3 * (end - begin), {"share": share}))
    return events


def _names(model: str, threads: Sequence[int]) -> list[dict[str, Any]]:
    def named(kind: str, thread: int, name: str) -> dict[str, Any]:
        return {"name": kind, "ph": "M", "pid": os.getpid(), "tid": thread, "args": {"name": name}}

    lines = [named("process_name", STEPS, f"fastconv {model}"), named("thread_name", STEPS, "steps")]
    return [*lines, *(named("thread_name", thread, f"thread {thread}") for thread in threads)]
