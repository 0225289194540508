"""``fastconv compress``: a small file of a network, its weights pruned, of few values, in Huffman codes.

MODEL is an .onnx file, or weights of an architecture. A result that ends in .fcz is small, and loads like any
other model; one that ends in .onnx has the same weights and runs elsewhere. docs/deep_compression.md tells
how.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fastconv.cli import arguments, network, output
from fastconv.errors import ArgumentError

T = TypeVar("T", int, float)


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "compress", help="make a small file: few weights, of few values (.fcz)", description=__doc__
    )
    network.add_model(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.fcz")
    parser.add_argument(
        "--bits", type=int, metavar="N", help="of an index into a layer's codebook, 1 to 8 (default: 5)"
    )
    parser.add_argument(
        "--prune",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of each layer's weights, that becomes zeros",
    )
    parser.add_argument(
        "--layer-bits", action="append", default=[], metavar="LAYER=N",
        help='other bits for a layer, "first", "last", or an operator as "Conv"; 0: as it is',
    )  # fmt: skip
    parser.add_argument(
        "--layer-prune", action="append", default=[], metavar="LAYER=SHARE", help="another share for it"
    )
    parser.add_argument(
        "--aim", choices=("error", "entropy", "relative"), default="error",
        help="what codebooks are chosen for: least error, few bits in Huffman codes, least relative error",
    )  # fmt: skip
    parser.add_argument(
        "--min-snr", type=arguments.positive_float, metavar="DB",
        help="in the place of --bits: the fewest bytes with which results on DATA have this signal-to-noise",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, metavar="FOLDER_OR_NPY", help="photos, or an array of inputs")
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compress, write, and say what each layer takes."""
    from fastconv.compress import share

    output.check_path("--output", args.output, (".fcz", ".onnx"))
    if args.bits is not None and args.min_snr is not None:
        raise ArgumentError("--bits, --min-snr: expected one of them, got both")
    graph, _ = network.graph(args)
    before = sum(array.nbytes for array in graph.constants.values())
    result = share(
        graph,
        5 if args.bits is None else args.bits,
        args.prune,
        layer_bits=_by_layer("--layer-bits", args.layer_bits, int),
        layer_prune=_by_layer("--layer-prune", args.layer_prune, float),
        aim=args.aim,
        min_snr=args.min_snr,
        data=args.data,
    )
    result.save(args.output)
    after = args.output.stat().st_size
    record = {"model": args.model, "output": str(args.output), "before": before, "bytes": after}
    record |= result.as_dict()
    remark = f"{args.output}: {after / 2**20:.2f} MiB, {before / after:.1f} times smaller than the weights"
    return output.finish(args, record, record["layers"], [*result.lines(), remark])


def _by_layer(flag: str, given: list[str], read: Callable[[str], T]) -> dict[str, T]:
    found = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            found[name] = read(value)
        except ValueError:
            raise ArgumentError(f"{flag}: expected a layer, = and a number, got {text!r}") from None
    return found
