"""What every command that runs a network takes: which one, on what shapes, on how many threads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fastconv.cli import arguments
from fastconv.errors import ArgumentError

if TYPE_CHECKING:
    from fastconv.graph.ir import Graph
    from fastconv.models.architecture import Architecture
    from fastconv.models.source import NetworkSource


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add MODEL, and whose weights it is where it is a file of weights."""
    parser.add_argument(
        "model", metavar="MODEL", nargs=nargs,
        help="a name as in fastconv.models (with random weights), an .onnx or .fcm file, or weights of such a"
        " network: .pth, .safetensors, .npz, or a folder of .npy files",
    )  # fmt: skip
    add_architecture(parser)


def add_architecture(parser: argparse.ArgumentParser) -> None:
    """Add what says whose weights a file holds."""
    parser.add_argument(
        "--architecture", metavar="NAME",
        help="whose weights the file holds (default: of which their names and shapes are)",
    )  # fmt: skip


def add_shapes(parser: argparse.ArgumentParser) -> None:
    """Add the shapes of the inputs."""
    parser.add_argument(
        "--input-shape", type=arguments.positive_ints, action="append", metavar="N,C,H,W",
        help="one for each input (default: what the model declares)",
    )  # fmt: skip
    parser.add_argument("--batch", type=arguments.positive_int, help="images at once (default: 1)")


def find(args: argparse.Namespace, *, verify: bool = False) -> NetworkSource:
    """Return the network that the arguments name."""
    from fastconv.models.source import find_network

    return find_network(args.model, args.architecture, verify=verify)


def graph(args: argparse.Namespace) -> tuple[Graph, Architecture | None]:
    """Return the graph of a network that is to be changed, and its architecture; None: the file's own."""
    from fastconv.compress.prepare import graph_of
    from fastconv.models import efficientnet_lite0, efficientnet_lite0_weights

    if args.model == efficientnet_lite0.name:
        return efficientnet_lite0.graph(efficientnet_lite0_weights()), efficientnet_lite0
    if Path(args.model).suffix.lower() == ".onnx":
        return graph_of(args.model), None
    source = find(args)
    if source.architecture is None:
        raise ArgumentError(f"MODEL: expected a network before it was compiled, got {args.model!r}")
    return source.graph(), source.architecture


def described(args: argparse.Namespace, source: NetworkSource) -> str:
    """Return what a command calls the network that it ran."""
    name = Path(args.model).name or args.model
    return f"{name} with random weights" if source.random else args.model
