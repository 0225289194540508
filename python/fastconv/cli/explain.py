"""``fastconv explain``: what a network runs as: each step's algorithm, tile, shapes and place in memory.

With --graph the steps are drawn as a graph with their times: as a picture (.svg), in Mermaid's words (.mmd),
or as a page of Markdown with these (.md).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv.cli import arguments, network, output

if TYPE_CHECKING:
    from fastconv.graph.model import Model

SUFFIXES = (".svg", ".mmd", ".md")


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "explain", help="say which algorithm each step of a network runs as", description=__doc__
    )
    network.add_model(parser)
    network.add_shapes(parser)
    parser.add_argument("--threads", type=arguments.positive_int, help="default: all")
    parser.add_argument("--graph", type=Path, metavar="FILE", help="draw the steps with their times")
    parser.add_argument(
        "--seconds", type=arguments.positive_float, help="for how long --graph times them (default: 0.5)"
    )
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan, print and draw."""
    import fastconv
    from fastconv.graph.table import rows
    from fastconv.models.source import shapes_for

    output.check_path("--graph", args.graph, SUFFIXES)
    if args.graph is None:
        arguments.refuse_beside(args, "no --graph", "seconds")
    source = network.find(args)
    model = source.model(threads=args.threads)
    shapes = shapes_for(source, model, args.input_shape, args.batch)
    if args.graph is not None:
        _draw(args, model, shapes)
    program = model.program(*shapes)
    record = {"model": args.model, "threads": args.threads or fastconv.get_num_threads()}
    if not output.emit(args, {**record, "steps": rows(program)}, rows(program)):
        output.line(model.explain(*shapes))
    return 0


def _draw(args: argparse.Namespace, model: Model, shapes: list[tuple[int, ...]]) -> None:
    from fastconv.lab.draw.network import mermaid, svg_network
    from fastconv.lab.profile import step_seconds

    program, seconds = step_seconds(model, *shapes, threads=args.threads, seconds=args.seconds or 0.5)
    suffix = args.graph.suffix.lower()
    text = svg_network(program, seconds) if suffix == ".svg" else mermaid(program, seconds)
    if suffix == ".md":
        text = f"```mermaid\n{text}```\n"
    args.graph.write_text(text, "utf-8")
