"""A program as a table to read, a line for each step: what ``Model.explain`` and a verbose run show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastconv._table import Table
from fastconv._text import counted, printable
from fastconv.graph.compile import Stage
from fastconv.graph.context import Step
from fastconv.graph.ir import NO_ACTIVATION
from fastconv.graph.program import Program
from fastconv.graph.staged import Plan
from fastconv.graph.steps import STEP_KINDS
from fastconv.graph.value import F32, Tensor, element_name

HEADS = ("step", "algorithm", "tile", "input", "output", "memory", "workspace", "nodes")


def rows(program: Program) -> list[dict[str, str]]:
    """Return a row for each step of a program, with the columns of :func:`table`."""
    return [dict(zip(HEADS, row, strict=True)) for row in _rows(program.stages)]


def table(name: str, executable: Plan, seconds: Sequence[float] | None = None) -> str:
    """Return the table of a program, with the time of each step where there is one."""
    numbered: list[tuple[Any, ...]] = [(i, *row) for i, row in enumerate(_rows(executable.stages))]
    columns = [("", "<"), *((head, "<") for head in HEADS)]
    if seconds is not None:
        columns = [("ms", "<"), *columns]
        numbered = [(f"{1e3 * s:.3f}", *row) for s, row in zip(seconds, numbered, strict=True)]
    lines = Table(*columns).lines(numbered)
    took = "" if seconds is None else f", {1e3 * sum(seconds):.3f} ms"
    steps, arena = len(executable.steps), executable.memory.arena
    title = f"{name}: {steps} steps, {executable.threads} threads, arena {arena} bytes{took}"
    return printable("\n".join([title, *_parts(executable), *lines, *_in_f32(executable.steps)]))


def _rows(stages: Sequence[Stage]) -> list[tuple[str, ...]]:
    return [_row(stage, step) for stage in stages for step in stage.steps]


def _row(stage: Stage, step: Step) -> tuple[str, ...]:
    """Return a step's cells in the table of a program."""
    node = step.node
    planned, workspace = step.params if step.is_convolution else (None, None)
    return (
        described(step),
        step.algorithm,
        "" if planned is None else planned.tile,
        next((_shown(t) for t in step.inputs if t is not None), ""),
        _shown(step.output),
        stage.place(step.output),
        "" if workspace is None or not workspace.size else stage.place(workspace),
        " ".join((node.name, *node.absorbed)),
    )


def _shown(tensor: Tensor) -> str:
    return str(tensor.shape) if tensor.dtype == F32 else f"{tensor.shape} {element_name(tensor.dtype)}"


def _in_f32(steps: Sequence[Step]) -> list[str]:
    """Return why convolutions are not of bf16 where that was asked for, a line for each reason."""
    nodes: dict[str, list[str]] = {}
    for step in steps:
        if step.stays_f32:
            nodes.setdefault(step.stays_f32, []).append(step.node.name)
    return [f"in f32, not bf16 ({reason}): {' '.join(names)}" for reason, names in nodes.items()]


def _parts(executable: Plan) -> list[str]:
    """Return a line for each size of the parts that a batch runs in."""
    lines, first = [], 0
    for stage in executable.stages[:-1]:
        last = first + len(stage.steps) - 1
        if stage.rounds:
            lines.append(f"steps {first} to {last} run for {counted(stage.rounds, 'round')} of a loop")
        else:
            parts = f"{counted(stage.times, 'part')} of {counted(stage.images, 'image')}"
            lines.append(f"steps {first} to {last} run for {parts}")
        first = last + 1
    if executable.split is not None and executable.split.lanes > 1:
        lines[-1] += f"; {executable.split.lanes} parts at a time, each on a thread of its own"
    return lines


def described(step: Step) -> str:
    """Return what a step does: its kind, its operation, what is fused into it."""
    words = [
        step.kind,
        *(p for p in step.params[:1] if STEP_KINDS[step.kind].is_named),
    ]
    if step.kind == "conv" and step.inputs[1] is not None:
        words.append("+ residual")
    # What numpy computes for a node is never its activation, which is a step of its own then.
    name, low, high = NO_ACTIVATION if step.kind == "call" else step.node.activation
    if name == "clamp" and low == 0 and high in (6, math.inf):
        name = "relu6" if high == 6 else "relu"
    return " ".join([*words, *([] if name == "none" else [f"+ {name}"])])
