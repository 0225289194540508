"""Running a batch in parts: how many of a program's steps, how many images at a time, on how many threads.

A step that reads and writes eight images of 112 x 112 x 96 goes to memory for each of them; the same step on
one image finds it in the cache, where the step before left it. So the first steps of a program, whose tensors
are large, run part by part, and the last ones, whose weights are large and are better read once, on the whole
batch. With several threads each takes a part of its own: nothing waits between steps.

The results are those of the whole batch, bit for bit: a part's steps are the batch's own, on views of fewer
images. They may be cut like that where every view that a step takes of a buffer has the images one after the
other in memory, all that belongs to one in one piece, and where the step computes each image from the same
image alone. :func:`independent_steps` checks both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from fastconv.graph.context import Buffer, Step
from fastconv.graph.memory import Lifetime, alive
from fastconv.graph.steps import STEP_KINDS
from fastconv.graph.value import Tensor

BALANCED = 0.9  # of the threads' time must be work for parts to run beside each other


class Split(NamedTuple):
    """How a batch is run: ``steps`` steps in parts of ``images`` images each, ``lanes`` parts at a time."""

    steps: int
    images: tuple[int, ...]
    lanes: int


def independent_steps(steps: Sequence[Step], buffers: Sequence[Buffer], batch: int) -> int:
    """Count the steps up to the first that does not treat the images of a batch one by one."""
    for i, step in enumerate(steps):
        if not _is_independent(step, buffers, batch):
            return i
    return len(steps)


def touched(steps: Sequence[Step]) -> set[int]:
    """Return the buffers that some steps read or write."""
    return {tensor.buffer for step in steps for tensor in step.tensors()}


def choose_split(
    steps: Sequence[Step],
    buffers: Sequence[Buffer],
    lifetimes: Mapping[int, Lifetime],
    batch: int,
    threads: int,
    cache: int,
) -> Split | None:
    """Return the split that moves the fewest bytes between memory and cache, or None to run all at once.

    Parameters
    ----------
    steps, buffers, lifetimes
        Of the program for the whole batch.
    batch, threads : int
        Images and threads.
    cache : int
        Bytes of the last cache that a run may fill.

    Notes
    -----
    Counted are the tensors of a step that runs on the whole batch, where they exceed the cache, and the
    weights of steps that run in parts, once for each part (or parts beside each other), where together they
    exceed it. Where cuts are equal the last is taken: threads then wait least for each other, and what fits
    the cache may fit a nearer one.
    """
    independent = independent_steps(steps, buffers, batch)
    spills = [0] * (len(steps) + 1)  # bytes of step i and those after it
    for i in reversed(range(len(steps))):
        traffic = sum(t.nbytes for t in (*steps[i].inputs, steps[i].output) if t is not None)
        spills[i] = spills[i + 1] + (traffic if traffic > cache else 0)
    held = alive(lifetimes, len(steps))
    best, least, weights, peak = None, spills[0], 0, 1
    for i in range(independent):
        weights += steps[i].params[0].packed_bytes if steps[i].is_convolution else 0
        peak = max(peak, held[i])
        split = _parts(i + 1, batch, threads, cache * batch // peak)
        rounds = len(split.images) // split.lanes
        cost = spills[i + 1] + (weights * (rounds - 1) if weights > cache else 0)
        if cost <= least:
            best, least = split, cost
    return best if best is not None and len(best.images) > 1 else None


def part_of(
    steps: Sequence[Step], buffers: Sequence[Buffer], batch: int, images: int
) -> tuple[list[Step], list[Buffer]]:
    """Return independent steps of a batch for fewer images, and the buffers that these need."""
    needed = touched(steps)
    smaller = [
        b if b.kind == "constant" else replace(b, size=b.size // batch * images if i in needed else 0)
        for i, b in enumerate(buffers)
    ]

    def part(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or not tensor.shape or tensor.shape[0] % batch:
            return tensor  # a constant
        return replace(tensor, shape=(tensor.shape[0] // batch * images, *tensor.shape[1:]))

    result = []
    for step in steps:
        output = part(step.output)
        assert output is not None
        constant = [t is not None and len(t.shape) < len(output.shape) for t in step.inputs]
        inputs = tuple(t if c else part(t) for t, c in zip(step.inputs, constant, strict=True))
        result.append(step._replace(inputs=inputs, output=output))
    return result, smaller


def _parts(steps: int, batch: int, threads: int, most: int) -> Split:
    """Divide a batch into parts for as many threads, or one part at a time; all threads in each."""
    if threads > 1:
        parts = math.ceil(batch / max(1, most // threads))
        parts = math.ceil(parts / threads) * threads
        if parts <= batch and batch >= BALANCED * parts * math.ceil(batch / parts):
            return Split(steps, _balanced(batch, parts), threads)
    return Split(steps, _balanced(batch, math.ceil(batch / min(batch, max(1, most)))), 1)


def _balanced(batch: int, parts: int) -> tuple[int, ...]:
    """Return sizes that differ by one at most, the larger first."""
    size, larger = divmod(batch, parts)
    return (size + 1,) * larger + (size,) * (parts - larger)


def _is_independent(step: Step, buffers: Sequence[Buffer], batch: int) -> bool:
    rank = len(step.output.shape)
    if not STEP_KINDS[step.kind].along_first_axis(step):
        return False
    if not _has_images_in_pieces(step.output, buffers[step.output.buffer].size, batch):
        return False
    for tensor in step.inputs:
        if tensor is None:
            continue
        buffer = buffers[tensor.buffer]
        if buffer.kind == "constant":
            if len(tensor.shape) == rank and tensor.shape[0] != 1 and tensor.strides[0] != 0:
                return False  # another value for each image
        elif tensor.shape[:1] != step.output.shape[:1] or not _has_images_in_pieces(
            tensor, buffer.size, batch
        ):
            return False
    return True


def _has_images_in_pieces(tensor: Tensor, size: int, batch: int) -> bool:
    """Whether each image's share of the first axis lies in its own of `batch` equal pieces of the buffer."""
    if not tensor.shape or tensor.shape[0] % batch or size % batch:
        return False
    rows, piece = tensor.shape[0] // batch, size // batch
    if tensor.strides[0] <= 0 or tensor.strides[0] * rows != piece:
        return False
    reach = [(n - 1) * s for n, s in zip((rows, *tensor.shape[1:]), tensor.strides, strict=True)]
    low = tensor.offset + sum(r for r in reach if r < 0)
    high = tensor.offset + sum(r for r in reach if r > 0)
    return low >= 0 and high < piece
