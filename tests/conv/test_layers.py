"""The layers of real networks, from the list that the benchmarks time."""

from __future__ import annotations

import math

import pytest

from fastconv.testing.shapes import CONV_TABLES, GEMM_TABLES

# Each geometry once, whatever network it is from.
LAYERS = list(
    {
        (layer.w_shape, *layer.kwargs.values(), layer.size): layer
        for t in CONV_TABLES.values()
        for layer in t
        if not layer.transposed  # tests/conv/test_transpose.py
    }.values()
)


def small(layer):
    """Shrink the image to a few rows and columns more than the kernel: whole tiles and tails."""
    extra = [*[2] * (layer.spatial - 1), 6]
    return layer.resized(
        *(min(n, k + e * layer.stride) for n, k, e in zip(layer.size, layer.kernel, extra, strict=True))
    )


def kind(layer):
    return (layer.ic, layer.oc, layer.kernel, layer.stride, layer.padding, layer.dilation, layer.groups)


KINDS = list({kind(layer): layer for layer in LAYERS}.values())


def test_the_tables_are_the_published_networks():
    macs = {name: sum(layer.macs * layer.count for layer in table) for name, table in CONV_TABLES.items()}
    assert len(CONV_TABLES["resnet50"]) == 23
    assert sum(layer.count for layer in CONV_TABLES["resnet50"]) == 53
    assert len(GEMM_TABLES["squares"] + GEMM_TABLES["channel_major"] + GEMM_TABLES["skinny"]) == 18
    published = {  # millions of multiply-accumulates, without the classifier
        "resnet50": 4087,
        "resnext50": 4228,
        "mobilenet_v1": 568,
        "mobilenet_v2": 299,
        "vgg16": 15347,
        "squeezenet": 349,
        "shufflenet_v2": 144,
    }
    assert {name: round(macs[name] / 1e6) for name in published} == published
    for table in CONV_TABLES.values():
        assert len({layer.name for layer in table}) == len(table)


@pytest.mark.parametrize("layer", KINDS, ids=lambda layer: layer.name)
def test_every_algorithm_and_tier_is_exact_on_integers(problem, tiers, layer):
    layer = small(layer)
    assert 16 * math.prod(layer.w_shape[1:]) + 4 < 2**24  # |x|, |w| and |bias| are at most 4: no sum rounds
    p = problem(layer.x_shape, layer.w_shape, activation="relu", **layer.kwargs)
    for _ in tiers:
        p.check(layout="NHWC")
        p.check(layout="NCHW", algorithm="auto")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "efficientnet_lite0", "shufflenet_v2"])
def test_whole_images(problem, name):
    for layer in CONV_TABLES[name]:
        p = problem(layer.x_shape, layer.w_shape, **layer.kwargs)
        p.check(algorithm="auto", layout="NHWC")
