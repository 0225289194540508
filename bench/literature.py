"""What the operation counts of papers are by the clock: networks, separations, groups, bottlenecks, batches.

    python bench/literature.py --json bench/results/lab/literature.json
    python bench/literature.py --report       # the tables of docs/compression.md; --check only compares them

Each row compares two networks of random weights, in turns, on one thread: how many times fewer operations one
has, as counted here, what the paper says, and how many times faster it is. How fast a network is does not
depend on its weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastconv
from fastconv import models
from fastconv._text import markdown, paragraph, update_page
from fastconv.graph.ir import Graph
from fastconv.lab.machine.setting import made_with
from fastconv.profiler import count
from fastconv.timing import time_calls

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from small_networks import Builder  # noqa: E402

RECORD, PAGE = ROOT / "bench" / "results" / "lab" / "literature.json", ROOT / "docs" / "compression.md"
Shape = tuple[int, ...]
Case = tuple[str, str, str, Callable[[], Graph], Callable[[], Graph]]  # idea, case, paper, before, after


class Net(Builder):
    """A network of convolutions, each with a ReLU, on one input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__("net")
        self.x = self.input("x", ("batch", *shape[1:]))
        self.channels = shape[1]

    def layer(
        self, outputs: int, kernel: Shape, stride: int = 1, groups: int = 1, *, relu: bool = True
    ) -> Net:
        """Add a convolution whose images stay as large as they are, or fall by the stride."""
        w = self.weights(outputs, self.channels // groups, *kernel)
        half = [n // 2 for n in kernel]
        attrs = {"pads": half * 2, "strides": [stride] * len(kernel), "group": groups}
        y = self.add("Conv", self.x, w, self.vector(outputs, -0.1, 0.1), **attrs)
        self.x, self.channels = self.add("Relu", y) if relu else y, outputs
        return self

    def pool(self, size: int, stride: int, pad: int = 0) -> Net:
        """Add a maximum over windows."""
        self.x = self.add("MaxPool", self.x, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4)
        return self

    def product(self, inputs: int, outputs: int) -> Net:
        """Add a product by a matrix."""
        self.x = self.add("Gemm", self.x, self.weights(inputs, outputs), self.vector(outputs, -0.1, 0.1))
        return self

    def end(self) -> Graph:
        """Return the network."""
        self.output(self.x, "y", (None,))
        return self.build()


def one(shape: Shape, *layers: tuple[Any, ...]) -> Callable[[], Graph]:
    """Return what makes a network of some layers."""

    def make() -> Graph:
        net = Net(shape)
        for layer in layers:
            net.layer(*layer)
        return net.end()

    return make


def alexnet() -> Graph:
    """Return AlexNet as Caffe has it, without its normalisations."""
    net = Net((1, 3, 227, 227))
    w = net.weights(96, 3, 11, 11)
    net.x, net.channels = net.add("Relu", net.add("Conv", net.x, w, strides=[4, 4])), 96
    net.pool(3, 2).layer(256, (5, 5), groups=2).pool(3, 2)
    net.layer(384, (3, 3)).layer(384, (3, 3), groups=2).layer(256, (3, 3), groups=2).pool(3, 2)
    net.x = net.add("Flatten", net.x)
    for inputs, outputs in ((9216, 4096), (4096, 4096), (4096, 1000)):
        net.product(inputs, outputs)
    return net.end()


def mobilenet_v1(separable: bool = True) -> Graph:
    """Return MobileNet V1, or the same with whole convolutions."""
    net = Net((1, 3, 224, 224)).layer(32, (3, 3), 2)
    strides = (1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1)
    for outputs, stride in zip((64, 128, 128, 256, 256, *[512] * 6, 1024, 1024), strides, strict=True):
        if separable:
            net.layer(net.channels, (3, 3), stride, net.channels).layer(outputs, (1, 1))
        else:
            net.layer(outputs, (3, 3), stride)
    return classifier(net)


def classifier(net: Net) -> Graph:
    """Return a network ended by the mean of each channel and a product for a thousand classes."""
    net.x = net.add("Flatten", net.add("GlobalAveragePool", net.x))
    return net.product(net.channels, 1000).end()


#: The channels of the second stage, by the number of groups: table 1 of Zhang et al. 2017, arXiv:1707.01083.
SHUFFLENET = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


def shufflenet_v1(groups: int, width: float = 1.0) -> Graph:
    """Return ShuffleNet (the first) of some groups."""
    net = Net((1, 3, 224, 224)).layer(24, (3, 3), 2).pool(3, 2, 1)
    side = 56
    for stage, units in enumerate((4, 8, 4)):
        outputs = int(SHUFFLENET[groups] * width) << stage
        for unit in range(units):
            stride = 1 if unit else 2
            before, channels = net.x, net.channels
            inner = outputs // 4 // groups * groups
            net.layer(inner, (1, 1), groups=1 if stage == unit == 0 else groups)
            if groups > 1:
                cut = [net.ints(0, groups, inner // groups, side, side), net.ints(0, inner, side, side)]
                wide = net.add("Transpose", net.add("Reshape", net.x, cut[0]), perm=[0, 2, 1, 3, 4])
                net.x = net.add("Reshape", wide, cut[1])
            net.layer(inner, (3, 3), stride, inner, relu=False)
            side //= stride
            net.layer(outputs if unit else outputs - channels, (1, 1), groups=groups, relu=False)
            if unit:
                y = net.add("Add", before, net.x)
            else:
                pooled = net.add(
                    "AveragePool",
                    before,
                    kernel_shape=[3, 3],
                    strides=[2, 2],
                    pads=[1] * 4,
                    count_include_pad=1,
                )
                y = net.add("Concat", pooled, net.x, axis=1)
            net.x, net.channels = net.add("Relu", y), outputs
    return classifier(net)


def zoo(name: str) -> Callable[[], Graph]:
    """Return what makes a network of fastconv's."""
    architecture = getattr(models, name)
    return lambda: architecture.graph(architecture.random_weights())


#: Millions of parameters (0: none) and of multiply-accumulates as published, and the side of the image.
#: The first three and MobileNet V1 are as tables 8 and 9 of arXiv:1704.04861 have them.
NETWORKS: dict[str, tuple[Callable[[], Graph], float, float, int]] = {
    "AlexNet": (alexnet, 60, 720, 227),
    "VGG-16": (zoo("vgg16"), 138, 15300, 224),
    "SqueezeNet 1.0": (zoo("squeezenet1_0"), 1.25, 1700, 224),
    "Inception V3": (zoo("inception_v3"), 25, 5000, 299),
    "ResNet-50": (zoo("resnet50"), 25.6, 3800, 224),
    "MobileNet V1": (mobilenet_v1, 4.2, 569, 224),
    "MobileNet V2": (zoo("mobilenet_v2"), 3.4, 300, 224),
    "ShuffleNet, g = 3": (lambda: shufflenet_v1(3), 0, 140, 224),
    "ShuffleNet V2": (zoo("shufflenet_v2_x1_0"), 2.3, 146, 224),
}

VOLUME = (1, 64, 8, 28, 28)
PAIRS: tuple[Case, ...] = (
    *(
        (
            "depthwise separation", f"3x3, {c} channels, {n} px", "8 to 9",
            one((1, c, n, n), (c, (3, 3))), one((1, c, n, n), (c, (3, 3), 1, c), (c, (1, 1))),
        )
        for c, n in ((64, 112), (256, 28), (512, 14))
    ),
    ("depthwise separation", "MobileNet V1", "8.6", lambda: mobilenet_v1(False), mobilenet_v1),
    *(
        ("asymmetric", f"7x7 > 1x7, 7x1, {c} channels, 17 px", "3.5",
         one((1, c, 17, 17), (c, (7, 7))), one((1, c, 17, 17), (c, (1, 7)), (c, (7, 1))))
        for c in (128, 192)
    ),
    *(
        ("spatial separation", f"3x3 > 3x1, 1x3, {c} channels, {n} px", "1.5",
         one((1, c, n, n), (c, (3, 3))), one((1, c, n, n), (c, (3, 1)), (c, (1, 3))))
        for c, n in ((64, 56), (128, 28), (256, 14))
    ),
    ("P3D", "3x3x3 > 1x3x3, 3x1x1, 64 channels, 8 x 28 x 28", "2.25",
     one(VOLUME, (64, (3, 3, 3))), one(VOLUME, (64, (1, 3, 3)), (64, (3, 1, 1)))),
    ("bottleneck", "two 3x3 of 256 > 1x1, 3x3, 1x1 of 64, 14 px", "17",
     one((1, 256, 14, 14), (256, (3, 3)), (256, (3, 3))),
     one((1, 256, 14, 14), (64, (1, 1)), (64, (3, 3)), (256, (1, 1)))),
    ("bottleneck", "two 3x3 of 64 > 1x1, 3x3, 1x1 of 256, 56 px", "1.06",
     one((1, 64, 56, 56), (64, (3, 3)), (64, (3, 3))),
     one((1, 256, 56, 56), (64, (1, 1)), (64, (3, 3)), (256, (1, 1)))),
    *(
        ("groups", f"ShuffleNet, g = 1 > {g}", "1.0", lambda: shufflenet_v1(1), lambda g=g: shufflenet_v1(g))
        for g in (2, 3, 4, 8)
    ),
    ("width", "ShuffleNet, g = 3, 2x > 1x", "3.7 > 2.9", lambda: shufflenet_v1(3, 2),
     lambda: shufflenet_v1(3)),
    ("width", "ShuffleNet, g = 3, 1x > 0.5x", "3.7 > 2.5", lambda: shufflenet_v1(3),
     lambda: shufflenet_v1(3, 0.5)),
)  # fmt: skip
BATCHES = (1, 2, 4, 8)
ROUNDS, SECONDS = 4, 0.1  # turns of each network, and their length


def input_of(graph: Graph, side: int = 224, batch: int = 1) -> np.ndarray[Any, Any]:
    """Return noise for a network: images of a side where it says no size."""
    shape = (batch, *[n if isinstance(n, int) else side for n in graph.inputs[0].shape[1:]])
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def timed(graphs: tuple[Graph, ...], side: int = 224, batch: int = 1) -> list[dict[str, float]]:
    """Return multiply-accumulates, parameters and milliseconds of some networks, timed in turns."""
    found, calls = [], []
    for graph in graphs:
        x = input_of(graph, side, batch)
        model = fastconv.Model(graph)
        totals = count(model, x.shape).totals
        size = sum(array.size for array in graph.constants.values() if array.dtype.kind == "f")
        found.append({"macs": float(totals["macs"]), "parameters": float(size)})
        calls.append(lambda model=model, x=x: model(x))
    best = [np.inf] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            best[i] = min(best[i], time_calls(call, SECONDS).min)
    for one_found, seconds in zip(found, best, strict=True):
        one_found["ms"] = 1e3 * seconds
    return found


def measure() -> dict[str, Any]:
    """Time all networks, pairs and batches."""
    networks, pairs, batches = {}, [], {}
    for name, (make, _, _, side) in NETWORKS.items():
        (networks[name],) = timed((make(),), side)
        say(name, networks[name])
    for idea, case, paper, before, after in PAIRS:
        one_pair = timed((before(), after()))
        pairs.append({"idea": idea, "case": case, "paper": paper, "networks": one_pair})
        say(f"{idea}: {case}", one_pair)
    for name in ("ResNet-50", "MobileNet V2"):
        graph = NETWORKS[name][0]()
        batches[name] = {str(n): timed((graph,), batch=n)[0]["ms"] for n in BATCHES}
        say(name, batches[name])
    return {"networks": networks, "pairs": pairs, "batches": batches}


def say(name: str, found: Any) -> None:
    """Tell how far the measurement is."""
    sys.stdout.write(f"{name}: {found}\n")
    sys.stdout.flush()


def tables(record: dict[str, Any]) -> str:
    """A row for each network, each pair, and each size of batch."""
    head = ["network", "M parameters, paper", "here", "M MACs, paper", "here", "ms", "G MACs a second"]
    rows = [head]
    for name, found in record["networks"].items():
        _, parameters, macs, _ = NETWORKS[name]
        rate = found["macs"] / found["ms"] / 1e6
        rows.append([
            name, f"{parameters:g}" if parameters else "", f"{found['parameters'] / 1e6:.2f}",
            f"{macs:g}", f"{found['macs'] / 1e6:.0f}", f"{found['ms']:.2f}", f"{rate:.0f}",
        ])  # fmt: skip
    pairs = [["idea", "case", "fewer MACs", "the paper says", "ms", "times as fast"]]
    for pair in record["pairs"]:
        before, after = pair["networks"]
        pairs.append([
            pair["idea"], pair["case"], f"{before['macs'] / after['macs']:.2f}", pair["paper"],
            f"{before['ms']:.3f} > {after['ms']:.3f}", f"{before['ms'] / after['ms']:.2f}",
        ])  # fmt: skip
    batches = [["ms an image, in a batch of", *map(str, BATCHES)]]
    for name, found in record["batches"].items():
        batches.append([name, *(f"{found[str(n)] / n:.2f}" for n in BATCHES)])
    made = f"fastconv {record['version']}; {record['date']}, commit {record['git_sha']}."
    about = f"{record['cpu']}, one thread, {made}"
    return "\n\n".join((markdown(rows), markdown(pairs, left=2), markdown(batches), paragraph(about)))


def main() -> int:
    """Measure, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write a record of what was measured")
    parser.add_argument("--report", action="store_true", help=f"write the tables of {PAGE.name}")
    parser.add_argument("--check", action="store_true", help="say whether the tables are the record's")
    args = parser.parse_args()
    if args.report or args.check:
        return update_page(PAGE, "literature", tables(json.loads(RECORD.read_text())), check=args.check)
    with fastconv.threads(1):
        record = {**made_with(), "cpu": fastconv._core.cpu_info()["model"], **measure()}
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
