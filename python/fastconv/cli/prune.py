"""``fastconv prune``: a network with fewer channels, or with zeros among its weights.

MODEL is an .onnx file, or weights of an architecture. --keep removes the channels that matter least; with
--data the layers are fitted to what they computed before. --zeros makes the smallest weights zeros, which
sparse kernels skip. Most networks must be trained further to be as good as they were. docs/compression.md
tells how.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastconv.cli import arguments, network, output
from fastconv.errors import ArgumentError


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "prune", help="remove the channels, or zero the weights, that matter least", description=__doc__
    )
    network.add_model(parser)
    parser.add_argument(
        "--keep", type=arguments.positive_float, metavar="SHARE",
        help="of the multiplications that are left, as 0.6",
    )  # fmt: skip
    parser.add_argument(
        "--zeros", type=arguments.positive_float, metavar="SHARE",
        help="in the place of --keep: of the weights that become zeros, as 0.9",
    )  # fmt: skip
    parser.add_argument(
        "--pattern", choices=("single", "1x16", "1x32"),
        help="of zeros: single weights (default), or blocks of 16 or 32 output channels",
    )  # fmt: skip
    parser.add_argument(
        "--spread", choices=("layer", "adaptive"),
        help="whether each layer has that share of zeros (default), or all together, each what it bears",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER_OR_NPY", help="photos, or an array of inputs, without labels"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--by", choices=("norm", "scale", "error"),
        help="what says how much a channel matters (default: error with data, else norm)",
    )  # fmt: skip
    parser.add_argument(
        "--multiple", type=arguments.positive_int, metavar="N",
        help="of channels that layers keep (default: as a vector register holds)",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=arguments.positive_int, default=300, metavar="N", help="at most (default: 300)"
    )
    parser.add_argument(
        "--input-shape", type=arguments.positive_ints, action="append", metavar="N,C,H,W",
        help="one for each input, where the network leaves more open than the size of an image",
    )  # fmt: skip
    output.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Remove, write, and say what is left."""
    output.check_path("--output", args.output, (".onnx",))
    if (args.keep is None) == (args.zeros is None):
        given = "neither" if args.keep is None else "both"
        raise ArgumentError(f"--keep, --zeros: expected one of them, got {given}")
    return _zero_weights(args) if args.keep is None else _remove_channels(args)


def _remove_channels(args: argparse.Namespace) -> int:
    from fastconv.compress import prune

    arguments.refuse_beside(args, "--keep", "pattern", "spread")
    result = prune(
        network.graph(args)[0],
        args.keep,
        data=args.data,
        by=args.by,
        multiple=args.multiple,
        samples=args.samples,
        shapes=args.input_shape,
    )
    result.save(args.output)
    record = _record(args) | result.report.as_dict()
    return output.finish(args, record, (), [str(result.report), output.size_of(args.output)])


def _zero_weights(args: argparse.Namespace) -> int:
    from fastconv.compress import sparsify

    arguments.refuse_beside(args, "--zeros", "by", "multiple", "input_shape")
    result = sparsify(
        network.graph(args)[0],
        args.zeros,
        pattern=args.pattern or "single",
        spread=args.spread or "layer",
        data=args.data,
        samples=args.samples,
    )
    result.save(args.output)
    record = _record(args) | result.as_dict()
    return output.finish(args, record, (), [*result.lines(), output.size_of(args.output)])


def _record(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": args.model,
        "output": str(args.output),
        "file_bytes": args.output.stat().st_size,
    }
