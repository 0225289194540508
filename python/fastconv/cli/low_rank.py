"""``fastconv low-rank``: a network some of whose layers are two thinner ones, where these are faster.

MODEL is an .onnx file, or weights of an architecture. Each layer is timed as it is and as two; most networks
must be trained further to be as good as they were. docs/compression.md tells how.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastconv.cli import arguments, network, output


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "low-rank", help="split layers of low rank in two where that is faster", description=__doc__
    )
    network.add_model(parser)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument(
        "--error", type=arguments.positive_float, metavar="SHARE",
        help="that a layer's weights may lose of their root mean square, as 0.2",
    )  # fmt: skip
    size.add_argument(
        "--rank", type=arguments.positive_int, metavar="N", help="channels between two layers, at the most"
    )
    parser.add_argument(
        "--form", choices=("channels", "spatial"), action="append",
        help="1x1 after kxk, or 1xk after kx1 (default: both are tried)",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER_OR_NPY", help="photos, or an array of inputs, without labels"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--samples", type=arguments.positive_int, default=300, metavar="N", help="at most (default: 300)"
    )
    parser.add_argument(
        "--input-shape", type=arguments.positive_ints, action="append", metavar="N,C,H,W",
        help="one for each input, where the network leaves more open than the size of an image",
    )  # fmt: skip
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Split, write, and say what each layer is worth."""
    from fastconv.compress import low_rank
    from fastconv.compress.low_rank import FORMS

    output.check_path("--output", args.output, (".onnx",))
    result = low_rank(
        network.graph(args)[0],
        error=args.error,
        rank=args.rank,
        forms=args.form or FORMS,
        data=args.data,
        samples=args.samples,
        shapes=args.input_shape,
    )
    result.save(args.output)
    record = {"model": args.model, "output": str(args.output), "file_bytes": args.output.stat().st_size}
    record |= result.as_dict()
    return output.finish(args, record, record["layers"], [*result.lines(), output.size_of(args.output)])
