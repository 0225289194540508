"""The convolutions of a network, for sweeps over what it really runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fastconv.lab.compare.walk import pads_of
from fastconv.testing.shapes import ConvLayer

if TYPE_CHECKING:
    from fastconv.graph.context import Step
    from fastconv.graph.model import Model


def network_layers(model: Model, *shapes: Sequence[int]) -> list[ConvLayer]:
    """Return the distinct convolutions of a network, each with how often it occurs, for one image.

    Strides and dilations that differ between dimensions are left out: a layer of the sweeps has one of each.

    Parameters
    ----------
    model : Model
        From :func:`fastconv.load` or :mod:`fastconv.models`.
    *shapes : sequence of int
        The shape of each input, as for :func:`fastconv.count`.

    Returns
    -------
    list of ConvLayer
        In the order in which they run first.

    Examples
    --------
    >>> from fastconv.models import resnet18
    >>> layers = network_layers(resnet18(resnet18.random_weights()), (1, 3, 224, 224))
    >>> len(layers), sum(layer.count for layer in layers), layers[0].name
    (11, 20, '3>64@224 k7 s2')
    """
    found: dict[ConvLayer, int] = {}
    program = model.program(*shapes)
    weights = program.weights
    for stage in program.stages:
        for step in stage.steps:
            if step.kind == "conv" and len(step.output.shape) > 2:
                weight = weights.get(step.node.inputs[1])  # none: it follows from the input's shape
                layer = None if weight is None else _layer_of(step, weight)
                if layer is not None:
                    found[layer] = found.get(layer, 0) + 1
    return [replace(layer, count=count) for layer, count in found.items()]


def _layer_of(step: Step, weight: Sequence[int]) -> ConvLayer | None:
    x, attrs = step.inputs[0], step.node.attrs
    assert x is not None
    _, ic, *size = x.shape
    kernel = weight[2:]
    strides, dilations = ({*attrs.get(name, (1,))} for name in ("strides", "dilations"))
    output_padding = {*attrs.get("output_padding", (0,))}
    if max(len(strides), len(dilations), len(output_padding)) > 1:
        return None
    (stride,), (dilation,), (added,) = strides, dilations, output_padding
    oc, padding = step.output.shape[1], pads_of(attrs, size, kernel)
    transposed, groups = step.node.op == "ConvTranspose", int(attrs.get("group", 1))

    def by(sizes: Sequence[int]) -> str:
        return "x".join(map(str, sizes if len(set(sizes)) > 1 else sizes[:1]))

    half = all(low == dilation * (k - 1) // 2 for low, k in zip(padding, (*kernel, *kernel), strict=True))
    name = f"{ic}>{oc}@{by(size)} k{by(kernel)}"
    name += f" s{stride}" * (stride > 1) + f" d{dilation}" * (dilation > 1) + f" g{groups}" * (groups > 1)
    name += " transposed" * transposed + f" p{by(padding)}" * (not half)
    layer = ConvLayer(
        *(name, ic, oc, tuple(size), tuple(kernel), stride, padding, dilation, groups, transposed, added)
    )
    return layer if layer.out == tuple(step.output.shape[2:]) else None
