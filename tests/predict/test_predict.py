"""fastconv.predict: what a worker does with paths, what is left to do, and how results are kept."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ArgumentError
from fastconv.graph.ir import GraphBuilder
from fastconv.predict import Predictor, pending, write_part

CLASSES, SIZE = 5, 8


def net(seed: int) -> fastconv.Model:
    """A classifier that is one layer: its results can be computed by hand."""
    weights = np.random.default_rng(seed).standard_normal((CLASSES, 3 * SIZE * SIZE), np.float32)
    builder = GraphBuilder("tiny", {"w": weights, "b": np.zeros(CLASSES, np.float32)})
    x = builder.input("x", ("batch", 3, SIZE, SIZE))
    builder.output(builder.add("Gemm", builder.add("Flatten", x), "w", "b", transB=1))
    return fastconv.Model(builder.build())


def read(path: str) -> np.ndarray:
    """Stands for a decoder: photos are arrays of bytes."""
    data = Path(path).read_bytes()
    if len(data) != 3 * SIZE * SIZE:
        raise fastconv.ModelError(f"{path}: cannot be decoded")
    return np.frombuffer(data, np.uint8).reshape(1, 3, SIZE, SIZE).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "net.fcm"
    net(0).save(path)
    return str(path)


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.jpg", "b.JPG", "inner/c.jpeg", "d.png"):
        (folder / name).write_bytes(rng.integers(0, 256, 3 * SIZE * SIZE, np.uint8).tobytes())
    (folder / "bad.jpg").write_bytes(b"\xff\xd8")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_rows_are_the_models_results(model: str, photos: Path) -> None:
    paths = [str(photos / "a.jpg"), str(photos / "d.png")]
    for path, row in zip(paths, Predictor(model, read).rows(paths), strict=True):
        scores = read(path).reshape(1, -1).astype(np.float64) @ net(0).source_graph().constants["w"].T
        assert (row["path"], row["label"], row["error"]) == (path, int(scores.argmax()), None)
        np.testing.assert_allclose(row["score"], scores.max(), rtol=1e-5)


def test_a_failed_photo_is_a_row(model: str, photos: Path) -> None:
    bad, none = str(photos / "bad.jpg"), str(photos / "none.jpg")
    rows = Predictor(model, read).rows([bad, str(photos / "a.jpg"), none])
    assert [row["error"] is None for row in rows] == [False, True, False]
    assert rows[0] == {
        "path": bad, "label": None, "score": None, "error": f"ModelError: {bad}: cannot be decoded"
    }  # fmt: skip
    assert rows[2]["error"].startswith("FileNotFoundError: ")


def test_an_input_that_the_model_refuses_is_a_row(model: str, photos: Path) -> None:
    [row] = Predictor(model, lambda path: read(path)[:, :, :-1]).rows([str(photos / "a.jpg")])
    assert row["error"].startswith("ShapeError: ")


def test_a_model_that_cannot_be_opened_ends_the_job(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Predictor(str(tmp_path / "none.fcm"), read).rows([str(photos / "a.jpg")])
    (tmp_path / "damaged.fcm").write_bytes(b"fastconv")
    with pytest.raises(fastconv.ModelError):
        Predictor(str(tmp_path / "damaged.fcm"), read).rows([str(photos / "a.jpg")])


opened: list[str] = []


@dataclass(frozen=True)
class Counted(Predictor):
    def open(self) -> Any:
        opened.append(self.model)
        return super().open()


def test_a_process_opens_a_model_once(model: str, photos: Path) -> None:
    opened.clear()
    path = str(photos / "a.jpg")
    predictor = Counted(model, read)
    first = predictor.rows([path, path])
    sent = Counted(model, fastconv.models.resnet18.preprocess)  # equal but for how photos are read
    assert first[0] == predictor.rows([path])[0] == first[1]
    sent.rows([path])
    assert opened == [model]
    Counted(model, read, threads=2).rows([path])
    assert opened == [model, model]


def test_a_new_file_under_the_name_is_opened(model: str, photos: Path) -> None:
    path, predictor = str(photos / "a.jpg"), Predictor(model, read)
    before = predictor.rows([path])
    net(1).save(model)
    after = predictor.rows([path])
    assert before != after == Predictor(model, read).rows([path])


def test_it_uses_its_threads_alone(model: str) -> None:
    before = fastconv.get_num_threads()
    assert Predictor(model, read, threads=1).open()._threads == 1
    assert fastconv.get_num_threads() == before


def test_it_is_pickled_as_a_path(model: str) -> None:
    predictor = Predictor(model, fastconv.models.resnet50.preprocess, threads=3)
    data = pickle.dumps(predictor)
    again = pickle.loads(data)
    assert len(data) < 2000
    assert (again.model, again.threads) == (model, 3)
    x = np.zeros((256, 256, 3), np.uint8)
    np.testing.assert_array_equal(again.preprocess(x), predictor.preprocess(x))


def test_photos_are_found_in_folders_of_any_depth(photos: Path, tmp_path: Path) -> None:
    names = [Path(path).relative_to(photos).as_posix() for path in pending(photos, tmp_path / "out")]
    assert names == ["a.jpg", "b.JPG", "bad.jpg", "d.png", "inner/c.jpeg"]
    assert [Path(path).name for path in pending(photos, tmp_path / "out", suffixes=[".png"])] == ["d.png"]


def test_no_folder_of_photos(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"images: expected a folder, got .*none"):
        pending(tmp_path / "none", tmp_path)


def test_tables_have_the_same_types_whatever_they_hold(model: str, photos: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    predictor = Predictor(model, read)
    expected = pa.schema(
        [("path", pa.string()), ("label", pa.int32()), ("score", pa.float32()), ("error", pa.string())]
    )
    for names in (["a.jpg"], ["bad.jpg"], []):
        assert predictor([str(photos / name) for name in names]).schema == expected


def test_what_has_a_row_is_not_pending(model: str, photos: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    predictor, out = Predictor(model, read), tmp_path / "out"
    paths = pending(photos, out)
    part = write_part(predictor(paths[:3]), out)  # the damaged one too: it has an error
    assert pending(photos, out) == paths[3:]
    assert pending(photos / ".." / "photos", out) == paths[3:]  # the same folder by another name
    write_part(predictor(paths[3:]), out)
    assert pending(photos, out) == []
    assert sorted(parquet.read_table(out)["path"].to_pylist()) == paths
    assert part.parent == out


def test_a_part_that_was_cut_short_is_done_again(model: str, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    whole = write_part(Predictor(model, read)([str(photos / "a.jpg")]), out)
    for name, size in (("cut.parquet", whole.stat().st_size // 2), ("empty.parquet", 0)):
        (out / name).write_bytes(whole.read_bytes()[:size])
    assert str(photos / "a.jpg") not in pending(photos, out)
    assert list(out.iterdir()) == [whole]


def test_without_pyarrow() -> None:
    code = """
import sys
sys.modules["pyarrow"] = None
from fastconv.predict import Predictor, pending
predictor = Predictor("none.fcm", print)
assert predictor.rows([]) == []
try:
    predictor([])
except Exception as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "MissingPackageError tables of results need pyarrow: pip install pyarrow\n"
