"""What outlives the lowering of a graph: the packed weights, shared by the programs of all input shapes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastconv import _core
from fastconv._fork import ForkLock
from fastconv.graph.budget import Budget
from fastconv.graph.ir import PackedWeights
from fastconv.graph.kept import Kept


@dataclass
class Plans:
    """Packed convolutions by node and parameters, and which weights went into them."""

    # Which algorithms are accurate enough, as fastconv.conv2d has it.
    precision: str = "fast"
    # The sizes of all images are known: a convolution chooses its algorithm once, and keeps no plain weights.
    fixed: bool = False
    # Algorithms are the ones measured to be the fastest (fastconv.tuning), for each shape and thread count.
    tune: bool = False
    # By the first output of the node, and by parameters.
    packed: dict[tuple[str, Hashable], _core.Conv] = field(default_factory=dict)
    # By the id of a weight's Constant: the first outputs of the nodes that packed it.
    users: dict[int, set[str]] = field(default_factory=dict)
    # By the same, for the model's own constants: how many nodes read it.
    reads: Mapping[int, int] = field(default_factory=dict)
    # What packed weights are taken from, and in a fork what the constants of a program are.
    budget: Budget = field(default_factory=Budget)
    kept: Kept = field(default_factory=lambda: Kept(Budget()))
    # Held while something is planned.
    lock: ForkLock = field(default_factory=ForkLock)
    # Plain weights stay, as constants that cost nothing: plans refer to them, and to stored weights.
    keep: bool = False
    # By the first output of the node: its weights as an earlier plan packed them.
    stored: Mapping[str, Sequence[PackedWeights]] = field(default_factory=dict)
    # Where a node packs a piece of its weights: which one.
    pieces: dict[tuple[str, Hashable], str] = field(default_factory=dict)
    # The same convolutions by what went into them, for nodes that read the same weights.
    shared: dict[Hashable, _core.Conv] = field(default_factory=dict)
    # What else a node makes of the model's own constants, by the node's first output and a key.
    made: dict[tuple[str, Hashable], Any] = field(default_factory=dict)

    def packed_weights(self) -> tuple[PackedWeights, ...]:
        """Return the weights of each node by algorithm; whatever its other parameters, they are the same."""
        found = {
            (name[0] + self.pieces.get(name, ""), algorithm, conv.packing): tuple(arrays)
            for name, conv in self.packed.items()
            for algorithm, arrays in conv.packed().items()
        }
        return tuple(PackedWeights(*key, arrays) for key, arrays in found.items())
