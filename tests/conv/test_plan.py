"""Conv2d: planned once, called many times, from any thread."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import fastconv
from fastconv.conv import plan as plan_once
from fastconv.conv import run

every_tier = pytest.mark.usefixtures("tier")


def plan(p, **keywords):
    return fastconv.Conv2d(p.w, p.bias, activation=p.activation, **p.geometry, **keywords)


@every_tier
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("groups", [1, 4, 16])
def test_one_plan_serves_many_sizes(problem, layout, groups):
    p = problem(
        (1, 16, 9, 9), (32, 16 // groups, 3, 3), padding=1, stride=2, groups=groups, activation="relu"
    )
    conv = plan(p, layout=layout)
    for shape in [(1, 16, 9, 9), (2, 16, 5, 8), (0, 16, 5, 8), (1, 16, 1, 1), (1, 16, 9, 9), (3, 16, 2, 21)]:
        q = problem(shape, p.w.shape, seed=1)
        q = type(p)(q.x, p.w, p.bias, None, "relu", p.geometry)
        x = q.x.transpose(0, 2, 3, 1) if layout == "NHWC" else q.x
        y = conv(x)
        assert conv.out_shape(x.shape) == y.shape
        q.assert_right(y.transpose(0, 3, 1, 2) if layout == "NHWC" else y)


def test_a_plan_for_one_call_keeps_the_weights_that_it_borrows(problem):
    p = problem((1, 64, 8, 8), (96, 64, 1, 1))
    for w in (p.w.copy(), p.w[::-1, ::-1].copy()[::-1, ::-1]):  # the second one is copied on the way
        conv = plan_once(w, p.bias, 1, 0, 1, 1, None, "planar", spatial=2, planar=True, once_for=p.x.shape)
        del w
        np.full((96, 64), np.nan, np.float32)  # takes the place of weights that were let go
        p.assert_right(run(conv, p.x, None, None, False, 2), "planar")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_residual_and_out(problem, layout):
    p = problem((2, 7, 6, 5), (9, 7, 3, 3), padding=1, residual=True)
    conv = plan(p, layout=layout)
    move = (lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1))) if layout == "NHWC" else np.copy
    back = (lambda a: a.transpose(0, 3, 1, 2)) if layout == "NHWC" else np.copy
    x, residual = move(p.x), move(p.residual)
    out = np.empty_like(residual)
    assert conv(x, residual=residual, out=out) is out
    p.assert_right(back(out))
    p.assert_right(back(conv(x, residual=residual)))
    replace(p, residual=None).assert_right(back(conv(x)))


def test_the_plan_keeps_its_own_weights(problem):
    p = problem((1, 5, 6, 6), (9, 5, 3, 3))
    w, bias = p.w.copy(), p.bias.copy()
    for algorithm in p.results():
        conv = fastconv.Conv2d(w, bias, algorithm=algorithm)
        w[...] = np.nan
        bias[...] = np.nan
        p.assert_right(conv(p.x), algorithm)
        w[...], bias[...] = p.w, p.bias


def test_a_plan_keeps_the_tier_it_was_made_for(problem):
    p = problem((1, 19, 6, 6), (37, 19, 3, 3))
    tiers = fastconv._core.tiers()
    before = fastconv._core.active_tier()
    try:
        plans = []
        for tier in tiers:
            fastconv._core.set_active_tier(tier)
            plans.append(plan(p))
        for tier in tiers:
            fastconv._core.set_active_tier(tier)
            for conv in plans:
                p.assert_right(conv(p.x))
    finally:
        fastconv._core.set_active_tier(before)


@pytest.mark.parametrize("groups", [1, 12])
def test_python_threads_share_a_plan(problem, groups):
    p = problem((1, 12, 20, 20), (24, 12 // groups, 3, 3), padding=1, groups=groups)
    conv = plan(p, precision="exact")  # equal to the reference to the last bit
    small = type(p)(p.x[:, :, :5, :6].copy(), p.w, p.bias, geometry=p.geometry)

    def work(i):
        q = (p, small)[i % 2]
        return bool((conv(q.x) == q.expected).all())

    p.expected, small.expected  # noqa: B018  # computed once, before the threads start
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(200)))


def test_explain_gives_a_reason_for_every_other_algorithm(problem):
    p = problem((1, 8, 6, 6), (8, 1, 3, 3), groups=8)
    conv = plan(p)
    text = conv.explain()
    assert conv.algorithm == "depthwise"
    assert "depthwise" in text.splitlines()[0]
    for name in set(fastconv.algorithms()) - {conv.algorithm}:
        reasons = [line for line in text.splitlines() if f"not {name}: " in line]
        assert len(reasons) == 1, text
        assert reasons[0].split(": ", 1)[1].strip()
    assert conv.packed_bytes >= p.w.nbytes
    assert repr(conv)


def test_groups_of_one_or_two_vectors_have_a_kernel_of_their_own(tier):
    """One vector of channels: "direct". Two: only images that leave the cache, read once for all groups."""
    lanes = {"ref": 4, "avx2": 8, "avx512": 16}[tier]

    def pick(per_group, pixels=28, **options):
        w = np.ones((4 * per_group, per_group, 3, 3), np.float32)
        conv = fastconv.Conv2d(w, padding=1, groups=4, **options)
        return conv.algorithm_for((1, 4 * per_group, pixels, pixels))

    assert pick(lanes // 2) == pick(lanes) == pick(lanes, stride=2) == "direct"
    assert pick(2 * lanes, stride=2) == ("direct" if lanes == 4 else "implicit")
    assert pick(2 * lanes, pixels=4096, stride=2) == "direct"
    assert pick(2 * lanes) != "direct"
    assert pick(2 * lanes, pixels=4096) != "direct"  # Winograd's fewer products
    assert pick(lanes, stride=3) == pick(4 * lanes, stride=2) == "implicit"  # no kernel of its own


def test_copies_are_the_convolution_itself():
    """Nothing changes what it computes, and its packed weights are in no format of Python's."""
    conv = fastconv.Conv2d(np.ones((2, 3, 3, 3), np.float32), padding=1)
    assert copy.copy(conv) is copy.deepcopy({"conv": conv})["conv"] is conv
