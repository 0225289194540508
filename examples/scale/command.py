"""The command line that the recipes of this folder have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from fastconv import models
from fastconv.predict import Predictor


def main(run: Callable[[Predictor, Path, Path, int], None]) -> None:
    """Run a recipe on what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path, help="folder of photos")
    parser.add_argument("model", type=Path, help="file that `fastconv convert` wrote")
    parser.add_argument("out", type=Path, help="folder of the results, where an earlier run is taken up")
    parser.add_argument("--architecture", choices=models.list(), required=True, help="whose preprocessing")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    args = parser.parse_args()
    predictor = Predictor(str(args.model.absolute()), models.MODELS[args.architecture].preprocess)
    run(predictor, args.images, args.out.absolute(), args.workers)
