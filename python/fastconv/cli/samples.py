"""What commands that learn of a network from data are given: the network, the data, how photos are read."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastconv.cli import arguments, network, output
from fastconv.cli.classify import DEFAULT_MODEL
from fastconv.errors import ArgumentError

if TYPE_CHECKING:
    from fastconv.compress.samples import Prepare
    from fastconv.graph.ir import Graph


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for a network, its data, and the layers that stay in float."""
    network.add_model(parser)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER_OR_NPY",
        help="100 to 300 photos, or an array of inputs, such as the network is used on",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=arguments.positive_int, default=300, metavar="N", help="at most (default: 300)"
    )
    parser.add_argument(
        "--check", type=Path, metavar="FOLDER_OR_NPY", help="other data for the report (default: the same)"
    )
    photos = parser.add_argument_group("photos (default: as networks are trained on ImageNet)")
    photos.add_argument(
        "--mean", type=arguments.numbers, metavar="R,G,B", help="taken from pixels of 0 to 255"
    )
    photos.add_argument("--std", type=arguments.numbers, metavar="R,G,B", help="what the rest is divided by")
    photos.add_argument("--size", type=arguments.positive_int, help="of the input, where it says none")
    photos.add_argument("--crop", type=arguments.positive_float, help="share of the shorter side (0.875)")
    photos.add_argument("--bgr", action="store_true", help="give blue first")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="NAME", help="a layer that stays in float"
    )
    parser.add_argument(
        "--exclude-op", action="append", default=[], metavar="OP", help="a kind of layer that does"
    )


def open_network(args: argparse.Namespace) -> tuple[Graph, Prepare | None]:
    """Return a network's graph, and what makes its input of a photo; None: what is usual."""
    from fastconv.compress.samples import photo_reader
    from fastconv.models import MODELS

    if args.model in MODELS and args.model != DEFAULT_MODEL:
        raise ArgumentError(f"MODEL: expected trained weights, got {args.model!r}, a name without any")
    given = {name: getattr(args, name) for name in ("mean", "std", "size", "crop")}
    given = {name: value for name, value in given.items() if value is not None}
    graph, architecture = network.graph(args)
    if architecture is not None:
        if given or args.bgr:
            raise ArgumentError(
                f"--mean, --std, --size, --crop, --bgr: expected for .onnx files alone: how photos become"
                f" inputs of {architecture.name} is known"
            )
        return graph, architecture.preprocess
    if not args.data.is_dir():
        return graph, None
    if len(graph.inputs) != 1:
        raise ArgumentError(f"--data: expected a network of one input for photos, got {len(graph.inputs)}")
    return graph, photo_reader(graph.inputs[0], order="bgr" if args.bgr else "rgb", **given)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Say each warning once, as a line, when the work is done."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in said):
        output.complain(f"warning: {message}", 0)
