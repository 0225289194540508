"""``fastconv convert``: save a model compiled for this machine, as one file that opens in milliseconds.

MODEL is an .onnx file, .pth, .safetensors or .npz weights of an architecture of fastconv.models, or a .fcm
file, whose weights are then packed for this machine and checked.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv.cli import arguments, output
from fastconv.cli.classify import architecture_of, fitting

if TYPE_CHECKING:
    from fastconv.graph.model import Model


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "convert", help="save a model compiled for this machine (.fcm)", description=__doc__
    )
    parser.add_argument("model", metavar="MODEL", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.fcm")
    parser.add_argument(
        "--input-shape", type=arguments.positive_ints, action="append", metavar="N,C,H,W",
        help="one for each input: pack the weights for these (default: what the model declares)",
    )  # fmt: skip
    parser.add_argument(
        "--precision",
        choices=("fast", "exact"),
        help="as of fastconv.load (default: fast, or the .fcm's)",
    )
    parser.add_argument(
        "--plain", action="store_true", help="leave the packed weights out: half the size, packed when opened"
    )
    output.add_json_flag(parser)
    parser.set_defaults(run=run, extra="onnx")


def open_model(args: argparse.Namespace) -> Model:
    """Return the model that the arguments name."""
    import fastconv
    from fastconv.graph.model import Model
    from fastconv.importers.weights import read_weights

    if args.model.suffix.lower() in (".onnx", ".fcm"):
        return fastconv.load(args.model, precision=args.precision, verify=True)
    weights = read_weights(args.model, fitting=fitting)
    architecture = architecture_of(str(args.model), weights)
    return Model(partial(architecture.graph, weights), precision=args.precision or "fast")


def run(args: argparse.Namespace) -> int:
    """Load, save and say how large it is."""
    model = open_model(args)
    model.save(args.output, *(args.input_shape or ()), packed=not args.plain)
    size = args.output.stat().st_size
    if args.json:
        output.dump({"model": str(args.model), "output": str(args.output), "bytes": size})
    else:
        output.line(f"{args.output}: {size / 2**20:.1f} MiB")
    return 0
