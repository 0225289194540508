"""Block sizes of convolutions: what a plan decides, and that no bit depends on it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from fastconv import _core, sweep
from fastconv.conv import plan
from fastconv.errors import ArgumentError, ShapeError
from fastconv.lab.compare.suite import BenchError
from fastconv.roofline import Roof
from fastconv.testing import reference
from fastconv.testing.shapes import ConvLayer
from fastconv.tuning import channels_last

every_tier = pytest.mark.usefixtures("tier")
SHORT: dict[str, Any] = {"rounds": 1, "seconds": 1e-5}


@pytest.fixture(scope="module")
def roof() -> Roof:
    return Roof(1)


BLOCKED = [
    ("implicit", ConvLayer("a", 5, 20, (17, 9), (3, 2), stride=2, padding=(1, 0, 1, 1)), ["pixels"]),
    ("implicit", ConvLayer("b", 6, 8, (7, 8), (3, 3), 2, (1, 1, 1, 1), transposed=True), ["pixels"]),
    ("im2col", ConvLayer("c", 8, 12, (9, 9), (3, 3), groups=2), ["pixels"]),
    ("winograd_f4", ConvLayer("d", 20, 40, (30, 30), (3, 3), padding=(1, 1, 1, 1)), ["tiles"]),
    ("winograd_f2", ConvLayer("e", 6, 10, (22, 21), (3, 3), dilation=2), ["tiles"]),
    ("planar", ConvLayer("f", 13, 40, (30, 20), (1, 1)), ["pixels", "channels"]),
    (
        "depthwise",
        ConvLayer("g", 70, 70, (30, 60), (3, 3), padding=(1, 1, 1, 1), groups=70),
        ["columns", "channels"],
    ),
    ("direct", ConvLayer("h", 96, 96, (20, 40), (3, 3), 2, groups=24), ["columns", "channels"]),
]


@every_tier
@pytest.mark.parametrize(
    ("algorithm", "layer", "names"), BLOCKED, ids=[layer.name for _, layer, _ in BLOCKED]
)
def test_any_blocks_give_the_same_bits(algorithm, layer, names, num_threads, rng):  # noqa: ARG001
    """Every size gives the bits that the plan's own gives, and writes nothing beside them."""
    x, w, bias = (
        rng.standard_normal(shape, np.float32) for shape in (layer.x_shape, layer.w_shape, (layer.oc,))
    )
    options = {"spatial": 2, "transposed": layer.transposed, "activation": None, **layer.kwargs}
    planar = algorithm == "planar"
    conv = plan(w, bias, algorithm=algorithm, planar=planar, **options)
    reference_of = reference.conv_transpose if layer.transposed else reference.conv
    want = reference_of(x, w, bias, **layer.kwargs)
    shape = conv.out_shape(x.shape)
    whole = np.full(math.prod(shape) + 128, np.nan, np.float32)
    y = whole[64:-64].reshape(shape)
    if not planar:
        x, y = channels_last(x), np.moveaxis(whole[64:-64].reshape(shape[0], *shape[2:], shape[1]), -1, 1)
    conv.run(x, y)
    result = y.copy()
    np.testing.assert_allclose(result, want, rtol=0, atol=1e-4 * np.abs(want).max())
    own = _core.BlockedConv(conv, x, y).blocks
    assert [name for name, *_ in own] == names
    assert all(size == most or (0 < size < most and size % step == 0) for _, size, step, most in own)
    ranges = [[*range(step, most, step), most] for _, _, step, most in own]
    for sizes in [(), *itertools.islice(itertools.product(*ranges), 40)]:
        whole.fill(np.nan)
        blocked = _core.BlockedConv(conv, x, y, sizes)
        blocked.run()
        assert tuple(size for _, size, *_ in blocked.blocks) == (sizes or tuple(size for _, size, *_ in own))
        np.testing.assert_array_equal(y, result, str(sizes))
        assert np.isnan(whole[:64]).all()
        assert np.isnan(whole[-64:]).all()


def test_blocks_that_cannot_be():
    layer = ConvLayer("f", 13, 40, (30, 20), (1, 1))
    x, w, y = (np.ones(shape, np.float32) for shape in (layer.x_shape, layer.w_shape, (1, 40, 30, 20)))
    conv = plan(w, None, algorithm="planar", planar=True, spatial=2, activation=None, **layer.kwargs)
    (_, _, step, most), (_, _, rows, most_rows) = _core.BlockedConv(conv, x, y).blocks
    for sizes, message in (
        ((step,), "sizes: expected 2, got 1"),
        ((step + 1, rows), f"sizes: expected {most} or a smaller multiple of {step} pixels"),
        ((0, rows), "got 0"),
        ((2 * most, rows), "pixels"),
        ((step, most_rows + rows), "channels"),
    ):
        with pytest.raises(ArgumentError, match=message):
            _core.BlockedConv(conv, x, y, sizes)
    with pytest.raises(ShapeError, match="y"):
        _core.BlockedConv(conv, x, np.ones((1, 40, 30, 21), np.float32))


def test_conv_blocking_marks_the_shipped_sizes(roof):
    layers = [
        *sweep.square_layers([9], [40], kernel=1),
        *sweep.square_layers([20], [32], groups=32),
        ConvLayer("one pixel", 8, 8, (1, 1), (1, 1)),  # nothing to choose
    ]
    found = sweep.sweep_conv_blocking(layers, **SHORT, title="some", roof=roof)
    assert [(one.algorithm, one.layout) for one in found.layers] == [
        *(("implicit", "NHWC"), ("planar", "NCHW"), ("depthwise", "NHWC")),
    ]
    for one in found.layers:
        assert one.best.loss == 0 <= one.loss <= one.worst.loss
        assert len({c.sizes for c in one.choices}) == len(one.choices) > 1
        assert one.at(one.shipped).sizes == one.shipped
    with pytest.raises(ArgumentError, match="layers"):
        sweep.sweep_conv_blocking([])


def test_changed_bits_raise(roof, monkeypatch):
    class Wrong(_core.BlockedConv):
        def __init__(self, conv, x, y, sizes=()):
            super().__init__(conv, x, y, sizes)
            self.y, self.sizes = y, sizes

        def run(self):
            super().run()
            if self.sizes:
                self.y[0, 0, 0, 0] += 1

    monkeypatch.setattr(_core, "BlockedConv", Wrong)
    with pytest.raises(BenchError, match="the same bits"):
        sweep.sweep_conv_blocking(sweep.square_layers([9], [40], kernel=1), **SHORT, roof=roof)
