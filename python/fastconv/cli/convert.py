"""``fastconv convert``: save a compiled model, as one file that opens in milliseconds.

With packed weights the first run is as fast as any other, and processes share all weights in memory.
A MODEL that is a .fcm file is checked.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastconv._arguments import PRECISIONS
from fastconv.cli import arguments, network, output


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("convert", help="save a compiled model (.fcm)", description=__doc__)
    network.add_model(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.fcm")
    parser.add_argument(
        "--input-shape", type=arguments.positive_ints, action="append", metavar="N,C,H,W",
        help="one for each input: pack the weights for these",
    )  # fmt: skip
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="as of fastconv.load (default: fast, or the .fcm's)",
    )
    parser.add_argument(
        "--packed",
        action="store_true",
        help="write the packed weights too, for the shapes that the model declares: twice the size",
    )
    output.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load, save and say how large it is."""
    output.check_path("--output", args.output, (".fcm",))
    model = network.find(args, verify=True).model(precision=args.precision)
    model.save(args.output, *(args.input_shape or ()), packed=args.packed or None)
    size = args.output.stat().st_size
    record = {"model": args.model, "output": str(args.output), "bytes": size}
    return output.finish(args, record, (), [output.size_of(args.output)])
