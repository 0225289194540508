"""Classify a folder of photos with a pool of processes of the standard library.

    python with_futures.py photos/ resnet50.fcm predictions/ --architecture resnet50 --workers 8

Each task is a batch of paths, whose rows become a Parquet file of their own.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from fastconv.predict import Predictor, pending, write_part

BATCH = 64  # photos of a task: what an interruption loses, at most, for each worker


def work(predictor: Predictor, paths: list[str], out: Path) -> None:
    write_part(predictor(paths), out)


def run(predictor: Predictor, images: Path, out: Path, workers: int) -> None:
    todo = pending(images, out)
    batches = [todo[i : i + BATCH] for i in range(0, len(todo), BATCH)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(work, predictor, batch, out) for batch in batches]):
            future.result()


if __name__ == "__main__":
    from command import main

    main(run)
