"""What nodes make of constants, packed weights above all: once for all programs, where these are the model's.

It is kept in :class:`fastconv.graph.plans.Plans` and taken from the model's budget. What is made of constants
that were computed or given at run time is a program's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from fastconv import _core
from fastconv.graph.context import Context, ValueNeeded
from fastconv.graph.value import F32, Array, Constant, Tensor, Value

_Kept = TypeVar("_Kept")


def pack(
    ctx: Context,
    constants: Sequence[Value | None],
    key: Hashable,
    build: Callable[..., _core.Conv],
    *,
    piece: str = "",
    share: Hashable = None,
) -> _core.Conv:
    """Return the packed convolution of the current node and ``key``, built on first use.

    The weight is the first of the constants that it is built from. Where they are the model's own it
    serves all programs; what was computed or given at run time may have another value next time.
    ``build`` gets the weight's array and, by algorithm, the same as packed before. Where it takes but a
    piece of the weight, ``piece`` says which, whatever the key. Nodes that give the same constants and
    the same ``share``, all that ``build`` depends on besides, get one convolution.
    """
    weight, *_ = constants
    assert weight is not None
    for value in constants:
        if isinstance(value, Tensor):
            raise ValueNeeded(value)
    assert isinstance(weight, Constant)
    plain = math.prod(weight.shape) * F32.itemsize  # of packed weights at least
    if not lasts(ctx, constants):
        ctx.budget.spend(plain)
        return build(weight.array, stored={})
    if weight.derived is not None:
        return kept(ctx, (), (weight.derived, key), plain, lambda: build(weight.array, stored={}))
    name = ctx.node.outputs[0]
    if (name, key) not in ctx.plans.packed:
        if piece:
            ctx.plans.pieces[name, key] = piece
        known = None if share is None else (share, *map(id, constants))
        conv = ctx.plans.shared.get(known)
        if conv is None:
            conv = _built(ctx, name + piece, plain, lambda stored: build(weight.array, stored=stored))
            if known is not None:
                ctx.plans.shared[known] = conv
        ctx.plans.packed[name, key] = conv
        ctx.plans.users.setdefault(id(weight), set()).add(name)
    return ctx.plans.packed[name, key]


def _built(
    ctx: Context, name: str, plain: int, build: Callable[[Mapping[str, Array]], _core.Conv]
) -> _core.Conv:
    """Build a convolution of weights as a file has them packed, or else of the plain ones."""
    packed = ctx.plans.stored.get(name, ())
    stored = {p.algorithm: p.arrays[0] for p in packed if p.packing == _core.packing_id()}
    if not stored:
        ctx.plans.budget.spend(plain)
    conv = build(stored)
    lent = sum(stored[a].nbytes for a in conv.packed() if a in stored) if stored else plain
    ctx.plans.budget.spend(max(0, conv.packed_bytes - lent))
    return conv


def lasts(ctx: Context, constants: Sequence[Value | None]) -> bool:
    """Whether constants are the same in all programs: the model's own, or made of such by the node."""
    return all(
        value is None
        or id(value) in ctx.plans.reads
        or (isinstance(value, Constant) and value.derived is not None)
        for value in constants
    )


def derived(ctx: Context, source: Constant, key: Hashable, build: Callable[[], Array]) -> Constant:
    """Return what the current node makes of a constant: once, where that is the model's own."""
    if not lasts(ctx, [source]):
        return Constant(build())
    nbytes = math.prod(source.shape) * F32.itemsize
    return kept(ctx, [source], key, nbytes, lambda: Constant(build(), key))


def kept(
    ctx: Context, sources: Sequence[Value], key: Hashable, nbytes: int, build: Callable[[], _Kept]
) -> _Kept:
    """Return what ``build`` makes of constants, so many bytes; made once where they are the model's own.

    It is then that of all programs: neither it nor ``key`` may depend on the shapes of inputs.
    """
    for value in sources:
        if isinstance(value, Tensor):
            raise ValueNeeded(value)
    if not lasts(ctx, sources):
        ctx.budget.spend(nbytes)
        return build()
    name = ctx.node.outputs[0], key
    if name not in ctx.plans.made:
        ctx.plans.budget.spend(nbytes)
        ctx.plans.made[name] = build()
    made: _Kept = ctx.plans.made[name]
    return made


def release_packed(ctx: Context, inputs: Sequence[Value | None]) -> None:
    """Drop the arrays of those of a node's weights that every node that reads them has packed."""
    for value in inputs:
        packed = ctx.plans.users.get(id(value), ())
        kept = ctx.plans.tune or ctx.plans.keep
        if packed and len(packed) == ctx.plans.reads.get(id(value)) and not kept:
            assert isinstance(value, Constant)
            value.release()
