"""Which channels of a network go together: an operator adds, scales or moves them, and keeps them apart.

A *set* of channels is what must be removed as a whole: a channel of a value, that of all values which
elementwise operators join with it, and the filters that write them (the groups of Fang et al. 2023,
arXiv:2301.12900). Layers, the products by constant weights, write sets of their own and read others.
Where a channel is the same number at every place of every image, that number is known too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fastconv.compress.layers import Layer, layer_of
from fastconv.graph.budget import Budget
from fastconv.graph.compile import Shape, evaluate, lowered_values
from fastconv.graph.ir import Graph, Node
from fastconv.graph.registry import describe, lookup
from fastconv.graph.value import Array, Constant, Value, normalized_axes, normalized_axis

POINTWISE = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "Pow", "PRelu", "BatchNormalization"),
        *("Neg", "Abs", "Sqrt", "Exp", "Log", "Reciprocal", "Erf", "Floor", "Ceil", "Round", "Sign", "Clip"),
    )
)
MOVES = frozenset(
    (
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Gather"),
        *("DepthToSpace", "SpaceToDepth"),
    )
)
# What looks at the pixels of a channel, whatever those of others are.
WINDOWS = frozenset(
    (
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "Upsample", "Pad"),
        *("ReduceMean", "ReduceMax", "ReduceMin", "InstanceNormalization"),
    )
)
BY_CHANNEL = frozenset(("BatchNormalization", "InstanceNormalization"))  # vectors of parameters, axis 1
_SEES_SHAPES = frozenset(("Shape", "Size"))


def _zeros(array: Array, rank: int, axis: int, count: int) -> Array:
    """Return in which channels a constant, which broadcasts with a value, is zero everywhere."""
    whole = np.moveaxis(array.reshape((1,) * (rank - array.ndim) + array.shape), axis, 0)
    return np.broadcast_to((whole == 0).reshape(len(whole), -1).all(1), (count,))


@dataclass
class Channels:
    """The channels of a value, along one axis.

    ``sets`` is the number of the set of each, ``known`` whether it is a constant, and ``constants`` which.
    """

    axis: int
    sets: Array
    known: Array
    constants: Array

    def along(self, rank: int, values: Array) -> Array:
        """Return a vector of the channels in a shape that broadcasts with the value's."""
        return values.reshape([-1 if i == self.axis else 1 for i in range(rank)])


@dataclass(frozen=True)
class Move:
    """Channels taken from a value: ``positions`` says which of its channels each of the results is.

    ``takes`` is whether nothing else differs. Otherwise they are in the order of (outer, channels, inner),
    ``outer`` times each.
    """

    source: str
    positions: Array
    takes: bool
    outer: int


@dataclass
class Trace:
    """What :func:`traced` found.

    Attributes
    ----------
    values : mapping of str to Value
        Shapes, and what constants hold.
    channels : dict of str to Channels
        Of values whose channels are known.
    layers : dict of str to Layer
        By their result.
    moves : dict of str to Move
        By their result.
    frozen : dict of int to str
        Of sets that nobody may remove: why.
    """

    graph: Graph
    values: Mapping[str, Value]
    channels: dict[str, Channels] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    moves: dict[str, Move] = field(default_factory=dict)
    frozen: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parents: list[int] = []
        self._parts: dict[str, tuple[str, Array]] = {}  # values with channels along several axes
        self._reasons: list[tuple[int, str]] = []

    # -- sets ------------------------------------------------------------------------------------------------

    def root(self, number: int) -> int:
        """Return the number that stands for a set after all joins."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def join(self, first: Array, second: Array) -> None:
        """Make one set of each pair."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            self._parents[self.root(b)] = self.root(a)

    def new_sets(self, count: int) -> Array:
        """Return the numbers of new sets."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def freeze(self, name: str, reason: str) -> None:
        """Leave the channels of a value as they are, if it has any."""
        source = self._parts[name][0] if name in self._parts else name
        if source in self.channels:
            self._reasons += [(number, reason) for number in self.channels[source].sets.tolist()]

    def finish(self) -> None:
        """Replace the numbers of sets by those that stand for them."""
        for number, reason in self._reasons:
            self.frozen.setdefault(self.root(number), reason)
        for known in self.channels.values():
            known.sets = np.array([self.root(number) for number in known.sets.tolist()], np.int64)

    # -- values ----------------------------------------------------------------------------------------------

    def shape(self, name: str) -> Shape:
        """Return the shape of a value."""
        return self.values[name].shape

    def holds(self, name: str) -> Array | None:
        """Return what a constant holds, or what follows from shapes."""
        value = self.values.get(name)
        return value.array if isinstance(value, Constant) else None

    def visit(self, node: Node) -> None:
        """Learn what a node does with channels."""
        layer = layer_of(node, self.graph.constants, self.values)
        read = [name for name in node.inputs if name in self.channels or name in self._parts]
        if layer is not None:
            self._layer(node, layer)
        elif not read or node.op in _SEES_SHAPES:
            return
        elif node.domain or (node.op in BY_CHANNEL and not self._has_constants(node)):
            self._stop(node, read)
        elif node.op == "Concat":
            self._concat(node)
        elif node.op in MOVES:
            self._move(node, read)
        elif node.op in WINDOWS:
            self._window(node, read)
        elif (node.op in POINTWISE or lookup(node).activation is not None) and len(node.outputs) == 1:
            self._pointwise(node, read)
        else:
            self._stop(node, read)

    def _has_constants(self, node: Node) -> bool:
        return all(name in self.graph.constants for name in node.inputs[1:])

    def _stop(self, node: Node, names: Iterable[str], why: str = "mixes channels, or may") -> None:
        for name in names:
            self.freeze(name, f"{describe(node)} {why}")

    def _layer(self, node: Node, layer: Layer) -> None:
        given = self.channels.get(node.inputs[0])
        if given is None or given.axis != layer.axis % len(self.shape(node.inputs[0])):
            self._stop(node, [node.inputs[0]])
            given = None
        known, constants = layer.constants(*((given.known, given.constants) if given else (None, None)))
        sets = self.new_sets(layer.outputs)
        if given is not None and layer.depthwise:
            self.join(np.repeat(given.sets, layer.outputs // layer.groups), sets)
        rank = len(self.shape(node.outputs[0]))
        self.channels[node.outputs[0]] = Channels(layer.axis % rank, sets, known, constants)
        self.layers[node.outputs[0]] = layer

    def _pointwise(self, node: Node, read: Sequence[str]) -> None:
        output = node.outputs[0]
        shape = self.shape(output)
        first = self._joined(node, read, shape)
        if first is None:
            return
        known, constants = self._computed(node, first, shape)
        self.channels[output] = Channels(first.axis, first.sets, known, constants)

    def _joined(self, node: Node, read: Sequence[str], shape: Shape) -> Channels | None:
        """Join the channels of values that broadcast to a shape; None where they lie along several axes."""
        aligned = {name: self.channels[name] for name in read if name in self.channels}
        axes = {name: len(shape) - len(self.shape(name)) + c.axis for name, c in aligned.items()}
        whole = [n for n, c in aligned.items() if len(c.sets) == shape[axes[n]]]
        whole.sort(key=lambda n: -len(aligned[n].sets))
        first = whole[0] if whole else ""
        fits = bool(first) and len(aligned) == len(set(read))
        for name in node.inputs if fits else ():
            if name in aligned and len(aligned[name].sets) == 1:
                continue
            if name in aligned:
                fits &= axes[name] == axes[first] and name in whole
            elif name and name not in self.graph.constants:
                at = axes[first] - len(shape) + len(self.shape(name))
                fits &= at < 0 or self.shape(name)[at] == 1
        if not fits:
            self._stop(node, read, "joins channels with what has none of the kind")
            return None
        for name in whole[1:]:
            if len(aligned[name].sets) == len(aligned[first].sets):
                self.join(aligned[first].sets, aligned[name].sets)
        found = aligned[first]
        return Channels(axes[first], found.sets, found.known, found.constants)

    def _computed(self, node: Node, first: Channels, shape: Shape) -> tuple[Array, Array]:
        """Return which channels are constants behind an elementwise operator, and which they are."""
        count, rank = len(first.sets), len(shape)
        known, zero = np.ones(count, bool), np.zeros(count, bool)
        feeds: dict[str, Array] = {}
        for name in filter(None, node.inputs):
            held = self.holds(name)
            if held is not None:
                feeds[name] = held
                if node.op == "Mul" and name not in self.channels:
                    zero |= _zeros(held, rank, first.axis, count)
                continue
            given = self.channels.get(name)
            if given is None:
                known[:] = False
                feeds[name] = np.zeros([1] * rank, np.float32)
                continue
            known &= given.known
            zero |= given.known & (given.constants == 0)
            numbers = np.where(given.known, given.constants, 0).astype(np.float32)
            feeds[name] = given.along(len(self.shape(name)), numbers)
        results = evaluate(node, feeds, Budget())
        fits = results is not None and results[0].size == count
        constants = results[0].reshape(-1).astype(np.float64) if results and fits else np.zeros(count)
        known &= fits
        known &= np.isfinite(constants)
        if node.op == "Mul":  # of finite numbers
            constants = np.where(known, constants, 0.0)
            known |= zero
        if node.op == "BatchNormalization":  # a factor of zero leaves what is added
            known |= (np.ravel(feeds[node.inputs[1]]) == 0) & np.isfinite(constants)
        return known, constants

    def _window(self, node: Node, read: Sequence[str]) -> None:
        name, output = node.inputs[0], node.outputs[0]
        given = self.channels.get(name)
        axis = None if given is None else self._axis_behind(node, given.axis)
        further = any(n in self.graph.constants for n in node.outputs[1:] if n)
        if given is None or axis is None or further or list(read) != [name]:
            self._stop(node, read)
            return
        zero = given.known & (given.constants == 0)
        known = given.known if self._keeps_constants(node) else zero
        self.channels[output] = Channels(axis, given.sets, known, given.constants)

    def _axis_behind(self, node: Node, axis: int) -> int | None:
        """Return where the channels of a value are behind what looks at pixels; None: that is no pixels'."""
        before, after = self.shape(node.inputs[0]), self.shape(node.outputs[0])
        if not node.op.startswith("Reduce"):
            kept = axis == 1 and len(before) == len(after) and before[1] == after[1]
            pads = self._pads(node) if node.op == "Pad" else None
            return axis if kept and (pads is None or not (pads[1] or pads[1 + len(pads) // 2])) else None
        axes = node.attrs.get("axes")
        if axes is None and len(node.inputs) > 1:
            held = self.holds(node.inputs[1])
            axes = None if held is None else held.tolist()
        if not axes:
            return None
        reduced = normalized_axes("axes", axes, len(before))
        if axis in reduced:
            return None
        return axis - (0 if node.attrs.get("keepdims", 1) else sum(a < axis for a in reduced))

    def _pads(self, node: Node) -> Sequence[int]:
        held = self.holds(node.inputs[1]) if len(node.inputs) > 1 else None
        unknown = [1] * 2 * len(self.shape(node.inputs[0]))
        if len(node.inputs) > 3:
            return unknown
        return list(node.attrs.get("pads", unknown) if held is None else held.tolist())

    @staticmethod
    def _keeps_constants(node: Node) -> bool:
        """Whether an image of one number stays one, whatever the number: no zeros beside it are counted."""
        attrs = node.attrs
        if node.op == "AveragePool":
            plain = attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not attrs.get("ceil_mode", 0)
            return not attrs.get("count_include_pad", 0) or (plain and not any(attrs.get("pads") or ()))
        if node.op == "Resize":
            within = attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize"
            return bool(within and attrs.get("mode", "nearest") in ("nearest", "linear"))
        if node.op == "Pad":
            return bool(attrs.get("mode", "constant") != "constant")
        return node.op != "InstanceNormalization"

    def _concat(self, node: Node) -> None:
        output = node.outputs[0]
        shape = self.shape(output)
        axis = normalized_axis("axis", node.attrs["axis"], len(shape))
        parts = [self.channels.get(name) for name in node.inputs]
        if any(part is not None and part.axis != axis for part in parts):
            self._along_pixels(node, shape)
            return
        found = []
        for name, part in zip(node.inputs, parts, strict=True):
            if part is None:
                self.freeze(name, f"{describe(node)} takes it in parts")
                count = self.shape(name)[axis]
                part = Channels(axis, self.new_sets(count), np.zeros(count, bool), np.zeros(count))
                self._reasons += [(n, f"{describe(node)} joins it to {name!r}") for n in part.sets.tolist()]
            found.append(part)
        joined = (np.concatenate([getattr(p, key) for p in found]) for key in ("sets", "known", "constants"))
        self.channels[output] = Channels(axis, *joined)

    def _along_pixels(self, node: Node, shape: Shape) -> None:
        """Join the channels of images that are put beside each other."""
        parts = [self.channels.get(name) for name in node.inputs]
        first = parts[0]
        alike = [p for p in parts if p and first and (p.axis, len(p.sets)) == (first.axis, len(first.sets))]
        if first is None or len(alike) < len(parts) or len(first.sets) != shape[first.axis]:
            self._stop(node, node.inputs, "joins channels with what has none of the kind")
            return
        known = first.known.copy()
        for part in alike[1:]:
            self.join(first.sets, part.sets)
            known &= part.known & (part.constants == first.constants)
        self.channels[node.outputs[0]] = Channels(first.axis, first.sets, known, first.constants)

    # -- moves -----------------------------------------------------------------------------------------------

    def _move(self, node: Node, read: Sequence[str]) -> None:
        """Follow channels to other places: the operator itself moves their numbers."""
        name = node.inputs[0]
        if list(read) != [name]:
            self._stop(node, read)
            return
        if name in self._parts:
            source, numbers = self._parts[name]
        else:
            given = self.channels[name]
            source, numbers = name, given.along(len(self.shape(name)), np.arange(len(given.sets)))
        further = {n: held for n in node.inputs[1:] if n and (held := self.holds(n)) is not None}
        feeds = {name: np.broadcast_to(numbers, self.shape(name)).astype(np.int32), **further}
        complete = all(n in feeds for n in node.inputs if n)
        results = evaluate(node, feeds, Budget()) if complete else None
        if results is None or len(results) < len(node.outputs):
            self._stop(node, read)
            return
        for output, result in zip(node.outputs, results, strict=True):
            self._moved(node, source, output, result)

    def _moved(self, node: Node, source: str, output: str, numbers: Array) -> None:
        """Enter a value that consists of the channels of these numbers."""
        for axis, n in enumerate(numbers.shape):
            if n > 1:
                one = np.take(numbers, [0], axis)
                if (numbers == one).all():
                    numbers = one
        axes = [axis for axis, n in enumerate(numbers.shape) if n > 1]
        given = self.channels[source]
        if not axes:
            self.freeze(source, f"{describe(node)} takes a single channel")
        elif len(axes) > 1:
            self._parts[output] = source, numbers
        else:
            (axis,), positions = axes, numbers.reshape(-1)
            move = self._as_move(node, source, output, axis, positions)
            if move is None:
                self._stop(node, [source], "moves channels to places that depend on all of them")
            else:
                self.moves[output] = move
            self.channels[output] = Channels(
                axis, given.sets[positions], given.known[positions], given.constants[positions]
            )

    def _as_move(self, node: Node, source: str, output: str, axis: int, positions: Array) -> Move | None:
        before, after = self.shape(source), self.shape(output)
        given = self.channels[source]
        rest = [n for i, n in enumerate(before) if i != given.axis]
        if len(before) == len(after) and axis == given.axis and rest == [*after[:axis], *after[axis + 1 :]]:
            return Move(source, positions, takes=True, outer=1)
        count = len(given.sets)
        if node.inputs[0] != source or node.op in ("Gather", "Slice", "Split") or len(positions) % count:
            return None
        for outer in (1, len(positions) // count):
            inner = len(positions) // count // outer
            if (positions == np.tile(np.repeat(np.arange(count), inner), outer)).all():
                return Move(source, positions, takes=False, outer=outer)
        return None


def traced(graph: Graph, shapes: Sequence[Shape]) -> Trace:
    """Follow the channels of a network.

    Parameters
    ----------
    graph : Graph
        With its constants folded.
    shapes : sequence of tuple of int
        Of its inputs. What is found holds for images of any size.
    """
    trace = Trace(graph, lowered_values(graph, shapes))
    for node in graph.nodes:
        trace.visit(node)
    for info in graph.outputs:
        trace.freeze(info.name, f"output {info.name!r} of the network")
    trace.finish()
    return trace
