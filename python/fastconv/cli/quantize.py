"""``fastconv quantize``: a network of 8 bits of one of floats, from data it is observed on, without training.

MODEL is "efficientnet_lite0" with its own weights, an .onnx file, or weights of an architecture. The result
is an .onnx file that other runtimes read too; docs/quantize.md tells how.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastconv.cli import arguments, output, samples


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "quantize", help="make a network of 8 bits of one of floats", description=__doc__
    )
    samples.add_network(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--ranges", choices=("auto", "minmax", "percentile", "mse"), default="auto",
        help="how ranges of values are chosen (default: by least error)",
    )  # fmt: skip
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
    output.add_page(parser)
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Quantise, write, and say what was lost."""
    from fastconv.compress import quantize
    from fastconv.lab.report import loss_page

    output.check_path("--output", args.output, (".onnx",))
    output.check_path("--html", args.html, output.PAGES)
    graph, prepare = samples.open_network(args)
    with samples.warnings_as_lines():
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
            sensitivity=args.sensitivity or args.html is not None,
            timed=args.time or args.html is not None,
            check=args.check,
        )
    result.save(args.output)
    if args.html:
        args.html.write_text(loss_page(result, Path(args.model).stem), "utf-8")
    size = args.output.stat().st_size
    record = {"model": args.model, "output": str(args.output), "bytes": size} | result.report.as_dict()
    lines = [*result.report.lines(), output.size_of(args.output)]
    return output.finish(args, record, record["layers"], lines)
