"""``fastconv quantize``: a network of 8 bits of one of floats, from data it is observed on, without training.

MODEL is "efficientnet_lite0" with its own weights, an .onnx file, or weights of an architecture. The result
is an .onnx file that other runtimes read too; docs/quantize.md tells how.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv.cli import arguments, network, output
from fastconv.cli.classify import DEFAULT_MODEL
from fastconv.errors import ArgumentError

if TYPE_CHECKING:
    from fastconv.compress.samples import Prepare
    from fastconv.graph.ir import Graph


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "quantize", help="make a network of 8 bits of one of floats", description=__doc__
    )
    network.add_model(parser)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER_OR_NPY",
        help="100 to 300 photos, or an array of inputs, such as the network is used on",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
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
        "--ranges", choices=("auto", "minmax", "percentile", "mse"), default="auto",
        help="how ranges of values are chosen (default: by least error)",
    )  # fmt: skip
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="NAME", help="a layer that stays in float"
    )
    parser.add_argument(
        "--exclude-op", action="append", default=[], metavar="OP", help="a kind of layer that does"
    )
    parser.add_argument(
        "--not-portable", action="store_true", help="let weights be such as saturate in other engines"
    )
    parser.add_argument("--no-equalize", action="store_true", help="leave the channels' ranges as they are")
    parser.add_argument("--no-correct", action="store_true", help="leave the biases as they are")
    parser.add_argument(
        "--min-snr", type=arguments.positive_float, metavar="DB",
        help="leave the layers that cost most in float until the results have this signal-to-noise",
    )  # fmt: skip
    parser.add_argument(
        "--sensitivity", action="store_true", help="measure what each layer costs if it alone is rounded"
    )
    parser.add_argument(
        "--time", action="store_true", help="measure each layer's time here, in floats and in 8 bits"
    )
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def open_network(args: argparse.Namespace) -> tuple[Graph, Prepare | None]:
    """Return a network's graph, and what makes its input of a photo; None: what is usual."""
    from fastconv.compress.prepare import graph_of
    from fastconv.compress.samples import photo_reader
    from fastconv.models import MODELS, efficientnet_lite0, efficientnet_lite0_weights

    given = {name: getattr(args, name) for name in ("mean", "std", "size", "crop")}
    given = {name: value for name, value in given.items() if value is not None}
    if args.model == DEFAULT_MODEL or Path(args.model).suffix.lower() != ".onnx":
        if args.model == DEFAULT_MODEL:
            architecture, graph = efficientnet_lite0, efficientnet_lite0.graph(efficientnet_lite0_weights())
        elif args.model in MODELS:
            raise ArgumentError(f"MODEL: expected trained weights, got {args.model!r}, a name without any")
        else:
            source = network.find(args)
            if source.architecture is None:
                raise ArgumentError(f"MODEL: expected a network before it was compiled, got {args.model!r}")
            architecture, graph = source.architecture, source.graph()
        if given or args.bgr:
            raise ArgumentError(
                f"--mean, --std, --size, --crop, --bgr: expected for .onnx files alone: how photos become"
                f" inputs of {architecture.name} is known"
            )
        return graph, architecture.preprocess
    graph = graph_of(args.model)
    if not args.data.is_dir():
        return graph, None
    if len(graph.inputs) != 1:
        raise ArgumentError(f"--data: expected a network of one input for photos, got {len(graph.inputs)}")
    return graph, photo_reader(graph.inputs[0], order="bgr" if args.bgr else "rgb", **given)


def run(args: argparse.Namespace) -> int:
    """Quantise, write, and say what was lost."""
    import warnings

    from fastconv.compress import quantize

    output.check_path("--output", args.output, (".onnx",))
    graph, prepare = open_network(args)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = quantize(
            graph,
            args.data,
            prepare=prepare,
            samples=args.samples,
            portable=not args.not_portable,
            equalize=not args.no_equalize,
            correct=not args.no_correct,
            ranges=args.ranges,
            exclude=args.exclude,
            exclude_ops=args.exclude_op,
            min_snr=args.min_snr,
            sensitivity=args.sensitivity,
            timed=args.time,
            check=args.check,
        )
    for message in dict.fromkeys(str(warning.message) for warning in said):
        output.complain(f"warning: {message}", 0)
    result.save(args.output)
    size = args.output.stat().st_size
    record = {"model": args.model, "output": str(args.output), "bytes": size} | result.report.as_dict()
    if output.emit(args, record, record["layers"]):
        return 0
    for text in result.report.lines():
        output.line(text)
    output.line(f"{args.output}: {size / 2**20:.1f} MiB")
    return 0
