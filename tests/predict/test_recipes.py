"""The recipes of examples/scale, each with its engine, as their command lines."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv.models import squeezenet1_1

EXAMPLES = Path(__file__).parents[2] / "examples" / "scale"
ENGINES = {"futures": (), "joblib": ("joblib",), "dask": ("dask", "distributed", "pandas"),
           "ray": ("ray",), "spark": ("pyspark", "pandas")}  # fmt: skip
PHOTOS = 5

pytestmark = [pytest.mark.engines, pytest.mark.slow]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model, photos of noise, and one that is none."""
    image = pytest.importorskip("PIL.Image")
    folder, rng = tmp_path_factory.mktemp("scale"), np.random.default_rng(0)
    squeezenet1_1(squeezenet1_1.random_weights()).save(folder / "net.fcm")
    (folder / "photos").mkdir()
    for i in range(PHOTOS):
        pixels = rng.integers(0, 256, (240, 240, 3), np.uint8)
        image.fromarray(pixels).save(folder / "photos" / f"{i}.jpg")
    (folder / "photos" / "bad.jpg").write_bytes(b"\xff\xd8")
    return folder


def run(recipe: str, data: Path, out: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"with_{recipe}.py"), str(data / "photos")]
    command += [str(data / "net.fcm"), str(out), "--architecture", "squeezenet1_1"]
    # The workers of a JVM find the package where this process does.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("recipe", ENGINES)
def test_recipe(recipe: str, data: Path, tmp_path: Path) -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    missing = [name for name in ENGINES[recipe] if importlib.util.find_spec(name) is None]
    if missing or (recipe == "spark" and shutil.which("java") is None):
        pytest.skip("the engines are those of `nox -s scale`")
    out = tmp_path / "out"
    run(recipe, data, out)
    rows = {Path(row["path"]).name: row for row in dataset.dataset(out).to_table().to_pylist()}
    assert sorted(rows) == [*(f"{i}.jpg" for i in range(PHOTOS)), "bad.jpg"]
    model = squeezenet1_1(squeezenet1_1.random_weights())
    for name, row in rows.items():
        if name == "bad.jpg":
            assert (row["label"], row["score"]) == (None, None)
            assert row["error"].startswith("ModelError: ")
        else:
            scores = model(squeezenet1_1.preprocess(data / "photos" / name))
            assert (row["label"], row["error"]) == (int(scores.argmax()), None)
            assert row["score"] == scores.max()

    # Taken up again, it does what is left: what is done stays as it is.
    before = {path: path.read_bytes() for path in out.glob("*.parquet")}
    more = data / "photos" / f"{recipe}.jpg"
    shutil.copy(data / "photos" / "0.jpg", more)
    try:
        run(recipe, data, out)
    finally:
        more.unlink()
    assert {path: path.read_bytes() for path in before} == before
    names = [Path(path).name for path in dataset.dataset(out).to_table()["path"].to_pylist()]
    assert sorted(names) == sorted([*rows, more.name])
