"""Classify a folder of photos with joblib.

    python with_joblib.py photos/ resnet50.fcm predictions/ --architecture resnet50 --workers 8

Each task is a batch of paths, whose rows become a Parquet file of their own.
"""

from __future__ import annotations

from pathlib import Path

from joblib import Parallel, delayed

from fastconv.predict import Predictor, pending, write_part

BATCH = 64  # photos of a task: what an interruption loses, at most, for each worker


def work(predictor: Predictor, paths: list[str], out: Path) -> None:
    write_part(predictor(paths), out)


def run(predictor: Predictor, images: Path, out: Path, workers: int) -> None:
    todo = pending(images, out)
    batches = [todo[i : i + BATCH] for i in range(0, len(todo), BATCH)]
    # Tasks take long enough to be sent one at a time: joblib would else make bundles of the last ones.
    Parallel(workers, batch_size=1)(delayed(work)(predictor, batch, out) for batch in batches)


if __name__ == "__main__":
    from command import main

    main(run)
