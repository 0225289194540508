"""Classify a folder of photos with Ray Data.

    python with_ray.py photos/ resnet50.fcm predictions/ --architecture resnet50 --workers 8

A pool of actors, with one model each, takes batches of paths; results are written as they come. On a cluster,
``ray.init("auto")`` finds it, and ``workers`` is the number of its cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray

from fastconv.predict import Predictor, pending

BATCH = 64  # photos that an actor takes at a time


class Actor:
    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, batch: Any) -> Any:
        return self.predictor(batch["path"].to_pylist())


def run(predictor: Predictor, images: Path, out: Path, workers: int) -> None:
    todo = pending(images, out)
    if not todo:
        return
    # Reading and writing are tasks that wait for a core beside the actors' own.
    ray.init(num_cpus=workers + 1, include_dashboard=False, ignore_reinit_error=True)
    blocks = -(-len(todo) // BATCH)  # a block becomes a file: what an interruption loses, for each worker
    paths = ray.data.from_items([{"path": path} for path in todo], override_num_blocks=blocks)
    rows = paths.map_batches(
        Actor, fn_constructor_args=(predictor,), batch_size=BATCH, batch_format="pyarrow",
        num_cpus=1, compute=ray.data.ActorPoolStrategy(size=workers),
    )  # fmt: skip
    rows.write_parquet(str(out))


if __name__ == "__main__":
    from command import main

    main(run)
