"""Checkpoints as trainers write them: the weights are found, whatever lies beside and around them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.errors import ModelError
from fastconv.importers.weights import read_weights
from fastconv.models import squeezenet1_1

Arrays = dict[str, Any]
WEIGHTS = squeezenet1_1.random_weights(num_classes=7)
X = np.random.default_rng(0).standard_normal((1, 3, 33, 33)).astype(np.float32)


def prefixed(prefix: str, arrays: Arrays = WEIGHTS) -> Arrays:
    return {prefix + name: array for name, array in arrays.items()}


def averaged() -> Arrays:
    """Weights of the same names and shapes that are others."""
    return {name: array * np.float32(0.5) for name, array in WEIGHTS.items()}


SCALAR = np.asarray(71.5, np.float32)
MOMENTA: Arrays = {"state": {i: {"exp_avg": array} for i, array in enumerate(WEIGHTS.values())}}

CHECKPOINTS: dict[str, Callable[[], Arrays]] = {
    "alone": lambda: dict(WEIGHTS),
    "best_acc1": lambda: {"epoch": 90, "arch": "x", "best_acc1": SCALAR, "state_dict": dict(WEIGHTS)},
    "loss and epoch": lambda: {"epoch": SCALAR, "loss": SCALAR, "model_state_dict": dict(WEIGHTS)},
    "optimizer": lambda: {"optimizer": MOMENTA, "model": dict(WEIGHTS), "lr": SCALAR},
    "more arrays": lambda: {"memory": {f"m{i}": SCALAR for i in range(200)}, "net": dict(WEIGHTS)},
    "DataParallel": lambda: {"state_dict": prefixed("module.")},
    "torch.compile": lambda: prefixed("_orig_mod."),
    "both": lambda: {"model": prefixed("_orig_mod.module.")},
    "Lightning": lambda: {"state_dict": prefixed("model."), "hyper_parameters": {"lr": 0.1}},
    "net.": lambda: prefixed("net."),
    "backbone.": lambda: {"state_dict": prefixed("module.backbone.")},
    "state_dict_ema": lambda: {"state_dict_ema": dict(WEIGHTS), "epoch": 3},
    "model_ema": lambda: {"model_ema": prefixed("module."), "epoch": 3},
    "AveragedModel": lambda: {"n_averaged": np.asarray(5), **prefixed("module.")},
    "thop": lambda: {"total_ops": SCALAR, "total_params": SCALAR, "features.0.total_ops": SCALAR, **WEIGHTS},
    "ema": lambda: {"ema": {"module": dict(WEIGHTS), "decay": SCALAR}},
    "weights": lambda: {"weights": dict(WEIGHTS)},
    "model_state": lambda: {"checkpoint": {"model_state": dict(WEIGHTS)}, "step": SCALAR},
    "averages beside": lambda: {"model_ema": averaged(), "model": dict(WEIGHTS)},
}


@pytest.fixture(scope="module")
def expected() -> Any:
    return squeezenet1_1(WEIGHTS)(X)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_mappings(name: str, expected: Any) -> None:
    np.testing.assert_array_equal(squeezenet1_1(CHECKPOINTS[name]())(X), expected)


@pytest.mark.torch
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_files(name: str, expected: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    def tensors(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tensors(item) for key, item in value.items()}
        return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value

    torch.save(tensors(CHECKPOINTS[name]()), tmp_path / "checkpoint.pth")
    np.testing.assert_array_equal(squeezenet1_1(tmp_path / "checkpoint.pth")(X), expected)


def test_names_in_other_files(expected: Any) -> None:
    file = io.BytesIO()
    np.savez(file, **prefixed("module.model."))
    np.testing.assert_array_equal(squeezenet1_1(file.getvalue())(X), expected)


def test_what_fits_nothing_is_told_by_its_own_names() -> None:
    with pytest.raises(ModelError, match=r"missing keys: .*unexpected keys: body\."):
        squeezenet1_1({"state_dict": prefixed("body."), "best": SCALAR})


def test_without_an_architecture_the_largest_is_taken() -> None:
    weights = read_weights({"best_acc1": SCALAR, "state_dict": {"module.a": SCALAR, "module.b": SCALAR}})
    assert list(weights) == ["a", "b"]


def legacy(state: bytes, keys: bytes) -> bytes:
    """A file of before torch 1.6: a pickle of what it holds, one of the names of its storages."""
    header = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in header) + state + keys


def test_the_ordered_dicts_of_python_2() -> None:
    """Written as a call with a list of lists of a key and a value, not filled afterwards."""
    name = b"X\x06\x00\x00\x00weight"
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x02\x85K\x01\x85tR"
    ordered = b"ccollections\nOrderedDict\n(](](" + name + tensor + b"eetR"
    data = legacy(b"\x80\x02" + ordered + b".", pickle.dumps(["0"], 2))
    data += (2).to_bytes(8, "little") + np.array([3, 4], "<f4").tobytes()
    np.testing.assert_array_equal(read_weights(data)["weight"], [3, 4])
    for wrong in (b"K\x05", b"](K\x05e", b"](](K\x05ee"):
        with pytest.raises(ModelError, match="OrderedDict: expected"):
            read_weights(legacy(b"\x80\x02ccollections\nOrderedDict\n(" + wrong + b"tR.", b""))
