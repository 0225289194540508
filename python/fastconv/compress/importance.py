"""How much each channel of a network matters: by its weights, its normalisation, or what reads it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastconv.compress.channels import Trace
from fastconv.compress.decide import read_channels
from fastconv.compress.observer import observe
from fastconv.compress.samples import Samples
from fastconv.graph.ops.norm import batch_norm_affine
from fastconv.graph.value import Array

TINY = 1e-30


def _normalized(scores: Array) -> Array:
    """Return scores as multiples of their mean, so that those of all layers compare."""
    return np.asarray(scores / max(float(scores.mean()), TINY))


def _gathered(trace: Trace, found: list[tuple[Array, Array]]) -> dict[int, float]:
    """Return the mean of what was found for each set."""
    count = 1 + max((int(known.sets.max()) for known in trace.channels.values()), default=0)
    total, times = np.zeros(count), np.zeros(count)
    for sets, scores in found:
        np.add.at(total, sets, _normalized(scores))
        np.add.at(times, sets, 1)
    return {int(n): float(total[n] / times[n]) for n in np.flatnonzero(times)}


def _scales(trace: Trace) -> dict[int, float]:
    """Return what batch normalisations multiply the channels of each set by, at the most."""
    found: dict[int, float] = {}
    for node in trace.graph.nodes:
        known = trace.channels.get(node.outputs[0])
        if node.op == "BatchNormalization" and known is not None:
            scale, bias, mean, var = (trace.graph.constants[name] for name in node.inputs[1:])
            factor, _ = batch_norm_affine(scale, bias, mean, var, node.attrs.get("epsilon", 1e-5))
            for number, value in zip(known.sets.tolist(), np.abs(factor).tolist(), strict=True):
                found[number] = max(found.get(number, 0.0), value)
    return found


def by_norm(trace: Trace) -> dict[int, float]:
    """Return the importance of sets by the squares of the filters that write them (Li et al. 2017).

    The factors of batch normalisations behind them count (arXiv:1608.08710).
    """
    scales, found = _scales(trace), []
    for output, layer in trace.layers.items():
        sets = trace.channels[output].sets
        factors = np.array([scales.get(number, 1.0) for number in sets.tolist()])
        found.append((sets, np.square(layer.weights, dtype=np.float64).sum((1, 2)) * np.square(factors)))
    return _gathered(trace, found)


def by_scale(trace: Trace) -> dict[int, float]:
    """Return the importance of sets by the factor that batch normalisation has learned (Liu et al. 2017).

    Sets without one count by their filters (arXiv:1708.06519).
    """
    found = []
    for node in trace.graph.nodes:
        known = trace.channels.get(node.outputs[0])
        if node.op == "BatchNormalization" and known is not None:
            found.append((known.sets, np.abs(trace.graph.constants[node.inputs[1]]).astype(np.float64)))
    return by_norm(trace) | (_gathered(trace, found) if found else {})


def by_error(trace: Trace, samples: Samples) -> dict[int, float]:
    """Return the importance of sets by what the layers that read them would lose on data (He et al. 2017).

    That is the mean square of a channel, without its mean, which a bias makes good, times the squares of the
    weights that read it (arXiv:1707.06168).
    """
    names = list(dict.fromkeys(layer.node.inputs[0] for layer in trace.layers.values()))
    names = [name for name in names if name in trace.channels and trace.channels[name].axis == 1]
    seen: Mapping[str, Array] = {
        name: np.maximum(known.channel_square - np.square(known.channel_mean), 0)
        for name, known in observe(trace.graph, samples, names).items()
    }
    found = []
    for layer in trace.layers.values():
        given, variance = read_channels(trace, layer), seen.get(layer.node.inputs[0])
        if given is None or layer.depthwise or variance is None or len(variance) != len(given.sets):
            continue
        grouped = layer.weights.reshape(layer.groups, -1, *layer.weights.shape[1:])
        weights = np.square(grouped, dtype=np.float64).sum((1, 3)).reshape(-1)
        found.append((given.sets, variance * weights))
    return by_norm(trace) | _gathered(trace, found)
