"""Convolutions whose dilation is larger than the image: what meets padding alone is not computed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.graph.ir import GraphBuilder
from fastconv.graph.model import Model
from fastconv.profiler import count
from fastconv.testing import reference
from fastconv.testing.tolerance import assert_within, sum_bound


def net(w: np.ndarray[Any, Any], size: tuple[int | None, ...], **attrs: Any) -> Model:
    b = GraphBuilder("net", {"w": w})
    x = b.input("x", ("batch", w.shape[1] * attrs.get("group", 1), *size))
    b.output(b.add("Conv", x, "w", **attrs), shape=("batch", None, *[None] * len(size)))
    return Model(b.build())


def kernel_of(model: Model) -> tuple[int, ...]:
    kernels = {
        tuple(step.params[0].kernel)
        for plan in model._session.programs.values()
        for step in plan.steps
        if step.kind == "conv"
    }
    (kernel,) = kernels
    return kernel


@pytest.mark.parametrize(
    ("size", "dilation", "taken"),
    [((10, 13), 12, (1, 3)), ((10, 13), 36, (1, 1)), ((13, 10), 12, (3, 1)), ((12, 12), 12, (1, 1)),
     ((13, 13), 12, (3, 3))],
)  # fmt: skip
def test_a_dilated_layer_of_a_small_image(
    size: tuple[int, int], dilation: int, taken: tuple[int, int], rng: np.random.Generator
) -> None:
    w = rng.standard_normal((5, 7, 3, 3), np.float32)
    x = rng.standard_normal((2, 7, *size), np.float32)
    model = net(w, size, pads=[dilation] * 4, dilations=[dilation] * 2)
    expected = reference.conv(x, w, padding=dilation, dilation=dilation)
    bound = sum_bound(reference.conv_magnitude(x, w, padding=dilation, dilation=dilation), 63)
    assert_within(model(x), expected, bound)
    assert kernel_of(model) == (1, *taken)
    (layer,) = (layer for layer in count(model).layers if layer.macs)
    assert layer.macs == 2 * expected[0].size * 63  # by the definition, with padding
    assert layer.executed_flops < 2 * layer.macs * 4 if taken != (3, 3) else True  # whole vectors for 5


def test_geometries(rng: np.random.Generator) -> None:
    """All paddings, strides and dilations around the sizes at which a tap leaves the image."""
    cases = itertools.product((1, 2, 5), (1, 3), (1, 2, 3), (1, 2, 4, 6), (0, 1, 4, 6, 7), (0, 2, 6, 9))
    ran = cropped = 0
    for n, k, stride, dilation, lo, hi in cases:
        if n + lo + hi < (k - 1) * dilation + 1:
            continue
        w = rng.standard_normal((2, 3, k, k), np.float32)
        x = rng.standard_normal((1, 3, n, n + 1), np.float32)
        model = net(
            w, (n, n + 1), pads=[lo, hi, hi, lo], strides=[stride] * 2, dilations=[dilation] * 2
        )  # the paddings differ by axis
        padded = np.pad(x, ((0, 0), (0, 0), (lo, hi), (hi, lo)))
        how = {"stride": stride, "dilation": dilation}
        expected = reference.conv(padded, w, **how)
        bound = sum_bound(reference.conv_magnitude(padded, w, **how), 3 * k * k)
        assert_within(model(x), expected, bound, (n, k, stride, dilation, lo, hi))
        ran += 1
        cropped += kernel_of(model) != (1, k, k)
    assert cropped > 50
    assert ran > 3 * cropped


def test_sizes_that_are_not_known_take_the_whole_kernel(rng: np.random.Generator) -> None:
    """Another image may need the other taps."""
    w = rng.standard_normal((5, 7, 3, 3), np.float32)
    model = net(w, (None, None), pads=[12] * 4, dilations=[12] * 2)
    for size in ((10, 13), (20, 30)):
        x = rng.standard_normal((1, 7, *size), np.float32)
        bound = sum_bound(reference.conv_magnitude(x, w, padding=12, dilation=12), 63)
        assert_within(model(x), reference.conv(x, w, padding=12, dilation=12), bound)


def test_a_saved_model_has_the_taps_alone_packed(rng: np.random.Generator, tmp_path: Path) -> None:
    """Under a name that says which, so that no plan of other taps takes them."""
    w = rng.standard_normal((5, 7, 3, 3), np.float32)
    model = net(w, (10, 10), pads=[12] * 4, dilations=[12] * 2)
    x = rng.standard_normal((1, 7, 10, 10), np.float32)
    expected = model(x)
    model.save(tmp_path / "net.fcm", packed=True)
    again = fastconv.load(tmp_path / "net.fcm")
    np.testing.assert_array_equal(again(x), expected)
    assert kernel_of(again) == kernel_of(model) == (1, 1, 1)
    (packed,) = again._session.plans.stored.items()
    assert packed[0].endswith("/taps 1 to 2/taps 1 to 2")
    (conv,) = again._session.plans.packed.values()
    (algorithm,) = conv.packed()
    assert np.shares_memory(conv.packed()[algorithm][0], packed[1][0].arrays[0])
