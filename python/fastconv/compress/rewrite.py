"""A network without some sets of its channels.

Every value is written with the channels that are left, in an order that is noted: who reads it takes its
weights in that order. So what only moves channels, as ShuffleNet's shuffle does, costs nothing where
convolutions read it, and is written out where an operator needs the order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from fastconv.compress.channels import BY_CHANNEL, Trace
from fastconv.compress.layers import Layer
from fastconv.graph.ir import Graph, Node
from fastconv.graph.passes.editor import Editor
from fastconv.graph.passes.simplify import eliminate_dead
from fastconv.graph.value import F32, Array, normalized_axis

INT64 = np.dtype(np.int64)
RUNS = 4  # pieces that are sliced and joined; more are gathered one by one


def without(trace: Trace, removed: Collection[int]) -> Graph:
    """Return a network without some sets of channels.

    A channel that is a constant where a layer reads it goes into the layer's bias, or, where zeros are around
    the image, into the weights of another constant channel that is left. What is not known to be constant
    counts as zero.
    """
    writer = _Writer(trace, np.fromiter(removed, np.int64, len(removed)))
    for node in trace.graph.nodes:
        writer.add(node)
    writer.finish()
    constants = writer.edit.constants
    return eliminate_dead(replace(trace.graph, nodes=tuple(writer.nodes), constants=constants))


class _Writer:
    def __init__(self, trace: Trace, removed: Array) -> None:
        self.trace, self.removed = trace, removed
        self.edit = Editor(trace.graph)  # for the names of new constants
        self.nodes: list[Node] = []
        self._names: dict[str, str] = {}  # of values that have others now
        self._orders: dict[str, Array] = {}  # of those that have changed: the old place of each channel
        self._results = {info.name for info in trace.graph.outputs}

    # -- values ----------------------------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        return self._names.get(name, name)

    def _order(self, name: str) -> Array:
        """Return the old places of the channels that a value has."""
        known = self._orders.get(name)
        return np.arange(len(self.trace.channels[name].sets)) if known is None else known

    def _kept(self, name: str) -> Array:
        """Return the old places of the channels that a value is to have, in the old order."""
        return np.flatnonzero(~np.isin(self.trace.channels[name].sets, self.removed))

    def _set_order(self, name: str, order: Array) -> str:
        """Note the order of a value that is written, and return the name to write it under."""
        if not np.array_equal(order, np.arange(len(self.trace.channels[name].sets))):
            self._orders[name] = order
            if name in self._results:
                self._names[name] = f"{name}:ordered"
        return self._name(name)

    def _in_order(self, name: str, order: Array) -> str:
        """Return a value with its channels in some order, written anew where they are in another."""
        if name not in self.trace.channels or np.array_equal(self._order(name), order):
            return self._name(name)
        where = np.argsort(self._order(name))
        at = where[np.searchsorted(self._order(name)[where], order)]
        self.edit.constants[new := f"{self._name(name)}:ordered{len(self.nodes)}"] = np.zeros(0)
        del self.edit.constants[new]
        self._gather(self._name(name), at, new, self.trace.channels[name].axis)
        return new

    def _plain(self, name: str) -> str:
        """Return a value with all its channels in their old order; its own name where some are gone."""
        if name in self._orders and len(self._orders[name]) == len(self.trace.channels[name].sets):
            return self._in_order(name, np.arange(len(self._orders[name])))
        return self._name(name)

    def _gather(self, name: str, at: Array, output: str, axis: int) -> None:
        index = self.edit.constant(f"{output}:index", at, INT64)
        node = Node("Gather", output, (name, index), (output,), {"axis": axis}, self._opset)
        self.nodes.append(node)

    @property
    def _opset(self) -> int:
        return next(node.opset for node in self.trace.graph.nodes if not node.domain)

    # -- nodes -----------------------------------------------------------------------------------------------

    def add(self, node: Node) -> None:
        """Write a node for the channels that are left."""
        output, channels = node.outputs[0], self.trace.channels
        if output in self.trace.layers:
            self._layer(node, self.trace.layers[output])
        elif any(name in self.trace.moves for name in node.outputs):
            self._move(node)
        elif node.op == "Concat" and output in channels and self._along_channels(node):
            self._concat(node)
        elif output in channels:
            self._joined(node)
        else:
            names = (self._plain(name) if node.op != "Shape" else self._name(name) for name in node.inputs)
            self.nodes.append(replace(node, inputs=tuple(names)))

    def finish(self) -> None:
        """Write the results of the network under their names."""
        for name in self._results:
            if self._name(name) != name:
                last = self._plain(name)
                self._identity(f"{name}:result", last, name)

    def _identity(self, node: str, source: str, output: str) -> None:
        self.nodes.append(Node("Identity", node, (source,), (output,), {}, self._opset))

    def _along_channels(self, node: Node) -> bool:
        output = node.outputs[0]
        axis = normalized_axis("axis", node.attrs["axis"], len(self.trace.shape(output)))
        return axis == self.trace.channels[output].axis

    def _concat(self, node: Node) -> None:
        orders, start = [], 0
        axis = self.trace.channels[node.outputs[0]].axis
        for name in node.inputs:
            count = self.trace.shape(name)[axis]
            order = self._order(name) if name in self.trace.channels else np.arange(count)
            orders.append(order + start)
            start += count
        output = self._set_order(node.outputs[0], np.concatenate(orders))
        inputs = tuple(map(self._name, node.inputs))
        self.nodes.append(replace(node, inputs=inputs, outputs=(output,)))

    def _joined(self, node: Node) -> None:
        """Write an operator that keeps channels where they are: what it reads gets one order."""
        output = node.outputs[0]
        result, rank = self.trace.channels[output], len(self.trace.shape(output))
        count = len(result.sets)
        whole = [n for n in node.inputs if n in self.trace.channels and len(self.trace.channels[n].sets) > 1]
        order = self._order(whole[0]) if whole else np.arange(count)
        inputs = []
        for position, name in enumerate(node.inputs):
            array = self.edit.graph.constants.get(name) if name else None
            if array is None:
                inputs.append(self._in_order(name, order) if name in whole else self._name(name))
            elif node.op == "Resize" and position == 3 and array.size == rank:
                sizes = np.where(np.arange(rank) == result.axis, len(order), array)
                inputs.append(self.edit.constant(name, sizes, array.dtype))
            else:
                axis = 0 if node.op in BY_CHANNEL else result.axis - rank + array.ndim
                inputs.append(self._sliced(name, array, axis, count, order))
        written = (self._set_order(output, order), *node.outputs[1:])
        self.nodes.append(replace(node, inputs=tuple(inputs), outputs=written))

    def _sliced(self, name: str, array: Array, axis: int, count: int, order: Array) -> str:
        """Return a constant that has a number for each channel, for those that are left."""
        whole = np.array_equal(order, np.arange(count))
        if whole or not 0 <= axis < array.ndim or array.shape[axis] != count or count == 1:
            return name
        return self.edit.constant(name, np.take(array, order, axis), array.dtype)

    # -- moves -----------------------------------------------------------------------------------------------

    def _move(self, node: Node) -> None:
        moves = {name: self.trace.moves[name] for name in node.outputs if name in self.trace.moves}
        (source, *_) = (move.source for move in moves.values())
        if source not in self._orders:
            self.nodes.append(replace(node, inputs=tuple(map(self._name, node.inputs))))
            return
        for output, move in moves.items():
            if move.takes:
                self._take(source, move.positions, output)
            else:
                self._carry(node, source, output, move.outer)

    def _take(self, source: str, positions: Array, output: str) -> None:
        """Write a value that consists of channels of another, in the order that they have there."""
        before = self._order(source)
        where = np.zeros(len(self.trace.channels[source].sets), np.int64)
        where[before] = np.arange(len(before))
        wanted = self._kept(output)
        wanted = wanted[np.argsort(where[positions[wanted]], kind="stable")]
        at, axis = where[positions[wanted]], self.trace.channels[output].axis
        written = self._set_order(output, wanted)
        if np.array_equal(at, np.arange(len(before))):
            if output in self._results:
                self._identity(written, self._name(source), written)
            else:
                self._names[output] = self._name(source)
            return
        runs = np.split(at, np.flatnonzero(np.diff(at) != 1) + 1)
        if len(runs) > RUNS:
            self._gather(self._name(source), at, written, axis)
            return
        pieces = [written] if len(runs) == 1 else [f"{written}:piece{i}" for i in range(len(runs))]
        for piece, run in zip(pieces, runs, strict=True):
            self._slice(self._name(source), int(run[0]), int(run[-1]) + 1, piece, axis)
        if len(runs) > 1:
            self.nodes.append(Node("Concat", written, tuple(pieces), (written,), {"axis": axis}, self._opset))

    def _slice(self, name: str, start: int, stop: int, output: str, axis: int) -> None:
        bounds = {"starts": start, "ends": stop, "axes": axis}
        attrs: dict[str, list[int]] = {}
        inputs = [name]
        if self._opset < 10:
            attrs = {key: [n] for key, n in bounds.items()}
        else:
            inputs += (
                self.edit.constant(f"{output}:{key}", np.array([n]), INT64) for key, n in bounds.items()
            )
        self.nodes.append(Node("Slice", output, tuple(inputs), (output,), attrs, self._opset))

    def _carry(self, node: Node, source: str, output: str, outer: int) -> None:
        """Write an operator that makes another shape of channels that stay in order."""
        count, places = len(self.trace.channels[source].sets), len(self.trace.channels[output].sets)
        grid = np.arange(places).reshape(outer, count, -1)
        order = grid[:, self._order(source)].reshape(-1)
        inputs = [self._name(name) for name in node.inputs]
        if node.op == "Reshape" and len(inputs) > 1 and inputs[1] in self.edit.graph.constants:
            target = self.edit.graph.constants[inputs[1]].copy()
            axis = self.trace.channels[output].axis
            target[axis] = len(order) if target[axis] > 0 else target[axis]
            inputs[1] = self.edit.constant(inputs[1], target, INT64)
        written = self._set_order(output, order)
        self.nodes.append(replace(node, inputs=tuple(inputs), outputs=(written,)))

    # -- layers ----------------------------------------------------------------------------------------------

    def _layer(self, node: Node, layer: Layer) -> None:
        name, output = node.inputs[0], node.outputs[0]
        reads = name in self.trace.channels and len(self.trace.channels[name].sets) == layer.inputs
        before = self._order(name) if reads else np.arange(layer.inputs)
        rows, groups, inputs = self._kept(output), layer.groups, [self._name(name)]
        if len(before) == layer.inputs and (np.diff(before) == 1).all() and len(rows) == layer.outputs:
            self.nodes.append(replace(node, inputs=(*inputs, *node.inputs[1:])))
            return
        wide, bias = layer.weights.astype(np.float64), layer.bias.copy()
        if layer.depthwise and reads:
            each = layer.outputs // groups
            rows = (before[:, None] * each + np.arange(each)).reshape(-1)
            weights, groups = wide[rows], len(before)
        elif groups > 1:
            inputs = [self._in_order(name, np.sort(before))] if reads else inputs
            weights, groups = self._of_groups(layer, wide, bias, np.sort(before), rows)
        else:
            if reads:
                self._fold(layer, wide, bias, before)
            weights = wide[rows][:, before]
        written = self._set_order(output, rows)
        self._write(layer, weights, bias[rows], groups, inputs[0], written)

    def _gone(self, layer: Layer, left: Array) -> tuple[Array, Array]:
        """Return which of the inputs that a layer loses are constants other than 0, and all constants."""
        given = self.trace.channels[layer.node.inputs[0]]
        gone = given.known & (given.constants != 0)
        gone[left] = False
        return np.flatnonzero(gone), np.where(given.known, given.constants, 0.0)

    def _fold(self, layer: Layer, weights: Array, bias: Array, left: Array) -> None:
        """Make good for the constants that a layer loses, in place."""
        gone, constants = self._gone(layer, left)
        gone = gone[weights[:, gone].any((0, 2))]
        if not len(gone):
            return
        lost = (weights[:, gone] * constants[gone, None]).sum(1)
        standing = left[np.argmax(np.abs(constants[left]))]
        if layer.bordered and constants[standing]:
            weights[:, standing] += lost / constants[standing]
        else:
            bias += lost.sum(1)

    def _of_groups(
        self, layer: Layer, weights: Array, bias: Array, left: Array, rows: Array
    ) -> tuple[Array, int]:
        """Return the weights of the groups that are left."""
        of_inputs, of_rows = layer.inputs // layer.groups, layer.outputs // layer.groups
        if layer.node.inputs[0] in self.trace.channels:
            gone, constants = self._gone(layer, left)
            for i in gone:
                within = slice(i // of_inputs * of_rows, (i // of_inputs + 1) * of_rows)
                bias[within] += weights[within, i % of_inputs].sum(1) * constants[i]
        parts = []
        for group in np.unique(rows // of_rows):
            mine = left[left // of_inputs == group] % of_inputs
            parts.append(weights[rows[rows // of_rows == group]][:, mine])
        return np.concatenate(parts), len(parts)

    def _write(self, layer: Layer, weights: Array, bias: Array, groups: int, name: str, output: str) -> None:
        own, bias, node = layer.rewritten(weights, bias, groups)
        w = self.edit.constant(node.inputs[1], own)
        inputs: Sequence[str] = (name, w)
        needed = bool(bias.any()) or (len(node.inputs) > 2 and bool(node.inputs[2]))
        b = self.edit.constant(f"{node.outputs[0]}:bias", bias, F32) if needed else ""
        if node.op == "MatMul" and needed:
            product = f"{output}:product"
            self.nodes.append(replace(node, inputs=(name, w), outputs=(product,)))
            self.nodes.append(Node("Add", f"{node.name}:bias", (product, b), (output,), {}, node.opset))
            return
        inputs = (name, w, b) if needed else (name, w)
        self.nodes.append(replace(node, inputs=tuple(inputs), outputs=(output,)))
