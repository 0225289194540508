"""Classify a folder of photos with Spark.

    python with_spark.py photos/ resnet50.fcm predictions/ --architecture resnet50 --workers 8

Each partition is a batch of paths that goes to a Python worker as Arrow data. On a cluster,
``spark-submit --master ...`` replaces ``local[N]``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from fastconv.predict import Predictor, pending

# Photos of a partition: what an interruption loses, at most, for each worker. More than with other engines,
# for Spark ends a task and begins the next in the time of several photos.
BATCH = 128


def session(workers: int) -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # of the workers: else the first python3 there is
    builder = SparkSession.builder.master(f"local[{workers}]").appName("fastconv")
    settings = {
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.ui.enabled": "false",
        # A partition's file is in its place as soon as it is written, not when all of them are.
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def run(predictor: Predictor, images: Path, out: Path, workers: int) -> None:
    todo = pd.DataFrame({"path": pending(images, out)})
    if todo.empty:
        return

    def predict(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            yield predictor(frame["path"]).to_pandas(types_mapper=pd.ArrowDtype)

    paths = session(workers).createDataFrame(todo).repartition(-(-len(todo) // BATCH))
    paths.mapInPandas(predict, from_arrow_schema(predictor.schema)).write.mode("append").parquet(str(out))


if __name__ == "__main__":
    from command import main

    main(run)
