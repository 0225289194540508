"""``fastconv shrink``: a network without the channels that are zeros, and smaller and faster for it.

MODEL is an .onnx file, or weights of an architecture, with whole filters of zeros, as tools that prune by
masks leave them. The result is an .onnx file that gives the same results; docs/compression.md tells how.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastconv.cli import arguments, network, output


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "shrink", help="remove the channels of a network that are zeros", description=__doc__
    )
    network.add_model(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--input-shape", type=arguments.positive_ints, action="append", metavar="N,C,H,W",
        help="one for each input, where the network leaves more open than the size of an image",
    )  # fmt: skip
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Remove, write, and say what is saved."""
    from fastconv.compress import shrink

    output.check_path("--output", args.output, (".onnx",))
    result = shrink(network.graph(args)[0], shapes=args.input_shape)
    result.save(args.output)
    size = args.output.stat().st_size
    record = {"model": args.model, "output": str(args.output), "file_bytes": size}
    record |= result.report.as_dict()
    lines = [*result.report.lines(), output.size_of(args.output)]
    return output.finish(args, record, record["layers"], lines)
