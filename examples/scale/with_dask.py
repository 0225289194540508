"""Classify a folder of photos with Dask.

    python with_dask.py photos/ resnet50.fcm predictions/ --architecture resnet50 --workers 8

Each partition is a batch of paths, and becomes a Parquet file as soon as it is done. On a cluster, give
``Client`` its address, and start its workers with one thread each and configured as below.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
from dask.distributed import Client, LocalCluster

from fastconv.predict import Predictor, pending

BATCH = 64  # photos of a partition: what an interruption loses, at most, for each worker


def predict(frame: pd.DataFrame, predictor: Predictor) -> pd.DataFrame:
    return predictor(frame["path"]).to_pandas(types_mapper=pd.ArrowDtype)


def run(predictor: Predictor, images: Path, out: Path, workers: int) -> None:
    todo = pd.DataFrame({"path": pending(images, out)})
    if todo.empty:
        return
    meta = predictor.schema.empty_table().to_pandas(types_mapper=pd.ArrowDtype)
    results = dd.from_pandas(todo, chunksize=BATCH, sort=False).map_partitions(predict, predictor, meta=meta)
    token = secrets.token_hex(8)  # a run after an interruption replaces none of the files that are there
    # Dask has malloc give freed memory back at once, and the arrays of every photo would be new pages.
    dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None})
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, Client(cluster):
        results.to_parquet(
            str(out), schema=predictor.schema, write_index=False, write_metadata_file=False,
            name_function=lambda i: f"part-{token}-{i:06}.parquet",
        )  # fmt: skip


if __name__ == "__main__":
    from command import main

    main(run)
