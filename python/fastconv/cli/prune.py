"""``fastconv prune``: a network with fewer channels, those that matter least removed.

MODEL is an .onnx file, or weights of an architecture. With --data the layers are fitted to what they computed
before; most networks must be trained further to be as good as they were. docs/compression.md tells how.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastconv.cli import arguments, network, output


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "prune", help="remove the channels of a network that matter least", description=__doc__
    )
    network.add_model(parser)
    parser.add_argument(
        "--keep", type=arguments.positive_float, required=True, metavar="SHARE",
        help="of the multiplications that are left, as 0.6",
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
    from fastconv.compress import prune

    output.check_path("--output", args.output, (".onnx",))
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
    size = args.output.stat().st_size
    record = {"model": args.model, "output": str(args.output), "file_bytes": size}
    record |= result.report.as_dict()
    return output.finish(args, record, (), [str(result.report), output.size_of(args.output)])
