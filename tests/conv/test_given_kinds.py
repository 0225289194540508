"""What comes in goes out: tensors for tensors, half precision for half precision; lists are read."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import fastconv
from fastconv.graph.ir import GraphBuilder

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)
W = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
VECTOR = RNG.random(3).astype(np.float32)

# Function, arrays and other arguments: each public function of arrays that takes float32.
CALLS = [
    ("conv1d", (X[:, :, 0], W[:, :, 0]), {}),
    ("conv2d", (X, W), {"residual": np.ones((2, 4, 4, 4), np.float32)}),
    ("conv3d", (X[:, :, None], W[:, :, None]), {"activation": "relu"}),
    ("conv_transpose1d", (X[:, :, 0], W[:3, :, 0]), {}),
    ("conv_transpose2d", (X, W[:3]), {"stride": 2}),
    ("conv_transpose3d", (X[:, :, None], W[:3, :, None]), {}),
    ("linear", (X, W[0, 0, :, :1].repeat(6, 1)), {}),
    ("gemm", (X[0, 0], X[0, 1]), {"bias": X[0, 0, 0]}),
    ("matmul", (X, X), {}),
    ("batch_norm", (X, VECTOR, VECTOR), {}),
    ("layer_norm", (X,), {}),
    ("group_norm", (X, 3), {}),
    ("instance_norm", (X,), {}),
    ("max_pool1d", (X[0], 2), {}),
    ("max_pool2d", (X, 2), {}),
    ("avg_pool1d", (X[0], 2), {}),
    ("avg_pool2d", (X, 2), {}),
    ("global_avg_pool2d", (X,), {}),
    ("interpolate", (X,), {"scale_factor": 2}),
    ("softmax", (X,), {}),
    *((name, (X,), {}) for name in ("relu", "relu6", "leaky_relu", "sigmoid", "silu", "tanh", "gelu")),
    *((name, (X,), {}) for name in ("hardswish", "hardsigmoid")),
]


def each(convert, value):
    return convert(value) if isinstance(value, np.ndarray) else value


def called(name, arrays, options, convert=lambda a: a, **out):
    arrays = [each(convert, a) for a in arrays]
    return getattr(fastconv, name)(*arrays, **{n: each(convert, v) for n, v in options.items()}, **out)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "arrays", "options"), CALLS, ids=[call[0] for call in CALLS])
def test_a_tensor_gives_a_tensor(name, arrays, options):
    torch = pytest.importorskip("torch")
    want = called(name, arrays, options)
    got = called(name, arrays, options, torch.from_numpy)
    assert type(got) is torch.Tensor
    np.testing.assert_array_equal(got.numpy(), want)
    out = torch.empty(got.shape)
    assert called(name, arrays, options, torch.from_numpy, out=out) is out
    np.testing.assert_array_equal(out.numpy(), want)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "arrays", "options"), CALLS, ids=[call[0] for call in CALLS])
def test_half_precision_is_widened_and_rounded_once(name, arrays, options, dtype):
    half = np.dtype(dtype) if dtype == "float16" else np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    got = called(name, arrays, options, lambda a: a.astype(half))
    wide = called(name, arrays, options, lambda a: a.astype(half).astype(np.float32))
    assert got.dtype == half
    np.testing.assert_array_equal(got.view(np.uint16), wide.astype(half).view(np.uint16))
    out = np.empty_like(got)
    assert called(name, arrays, options, lambda a: a.astype(half), out=out) is out
    np.testing.assert_array_equal(out.view(np.uint16), got.view(np.uint16))


@pytest.mark.torch
def test_half_precision_is_what_torch_computes():
    torch = pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")
    for dtype in (torch.float16, torch.bfloat16):
        x, w = torch.from_numpy(X).to(dtype), torch.from_numpy(W).to(dtype)
        got = fastconv.conv2d(x, w)
        assert got.dtype == dtype
        wide = torch.nn.functional.conv2d(x.double(), w.double())
        step = 2.0 ** (-10 if dtype == torch.float16 else -7)
        assert ((got.double() - wide).abs() <= step * wide.abs() + 1e-4).all()


@pytest.mark.torch
def test_gradients_are_asked_for_or_not():
    torch = pytest.importorskip("torch")
    w = torch.nn.Parameter(torch.from_numpy(W))
    with pytest.raises(fastconv.DTypeError, match=r"w: .* use tensor.detach\(\)"):
        fastconv.conv2d(torch.from_numpy(X), w)
    with torch.no_grad():
        assert type(fastconv.conv2d(torch.from_numpy(X), w)) is torch.Tensor


@pytest.mark.torch
def test_results_share_the_memory_that_was_computed():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(X.copy())
    assert fastconv.relu(x, out=x) is x
    np.testing.assert_array_equal(x.numpy(), np.maximum(X, 0))
    conv = fastconv.Conv2d(W)
    y = torch.empty(2, 4, 4, 4)
    assert conv(x, out=y) is y
    np.testing.assert_array_equal(conv(x).numpy(), y.numpy())
    q = fastconv.qconv2d(x.to(torch.uint8), torch.ones(4, 3, 3, 3, dtype=torch.int8))
    assert q.dtype == torch.int32


class Standard:
    """An array of a library that follows the array API standard, over numpy's memory."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __array_namespace__(self):
        return types.SimpleNamespace(from_dlpack=lambda a: Standard(np.from_dlpack(a)))


def test_an_array_of_the_standard_gives_one():
    got = fastconv.conv2d(Standard(X), Standard(W))
    assert isinstance(got, Standard)
    np.testing.assert_array_equal(got.array, fastconv.conv2d(X, W))


def test_a_mixture_of_types_is_refused():
    half = W.astype(np.float16)
    for x, w, expected in ((X, half, "float32"), (X.astype(np.float16), W, "float16")):
        with pytest.raises(fastconv.DTypeError, match=f"^w: expected dtype {expected}"):
            fastconv.conv2d(x, w)
    with pytest.raises(fastconv.DTypeError, match=r"^x: .* got float64; astype\('float32'\) makes it that"):
        fastconv.conv2d(X.astype(np.float64), W)
    with pytest.raises(fastconv.DTypeError, match=r"^out: expected dtype float16"):
        fastconv.relu(X.astype(np.float16), out=np.empty_like(X))


def test_lists_of_numbers():
    np.testing.assert_array_equal(fastconv.relu([[1, -2.5], [3, 4]]), np.float32([[1, 0], [3, 4]]))
    got = fastconv.conv2d(X.tolist(), W.tolist(), [1, 2, 3, 4])
    np.testing.assert_array_equal(got, fastconv.conv2d(X, W, np.float32([1, 2, 3, 4])))
    for value, message in (
        ([1, [2]], "lists of equal lengths"),
        (["1"], "a list of str"),
        ([True], "a list of bool"),
        ([None], "a list of object"),
        ([1e300], "numbers that float32 holds"),
        (1.0, "expected an array"),
    ):
        with pytest.raises(fastconv.DTypeError, match=f"^x: .*{message}"):
            fastconv.relu(value)


def network():
    b = GraphBuilder("two", {"w": W})
    x, z = b.input("x", ("batch", 3, 6, 6)), b.input("z", ("batch", 4, 4, 4))
    y = b.add("Conv", x, "w")
    b.output(b.add("Add", y, z), "sum", ("batch", 4, 4, 4))
    b.output(b.add("Relu", y), "relu", ("batch", 4, 4, 4))
    return fastconv.Model(b.build())


Z = RNG.standard_normal((2, 4, 4, 4)).astype(np.float32)


def test_inputs_by_name():
    model = network()
    want = model(X, Z)
    for got in (model(X, z=Z), model(z=Z, x=X), model(X.tolist(), Z)):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
    for arguments, named in (((X,), {"y": Z}), ((X,), {"x": X, "z": Z}), ((), {"x": X}), ((X, Z, Z), {})):
        with pytest.raises(fastconv.ArgumentError, match=r"^inputs: expected 2 arrays"):
            model(*arguments, **named)


def test_outputs_by_name():
    model = network()
    want = model(X, Z)
    out = {"relu": np.zeros((2, 4, 4, 4), np.float32)}
    total, relu = model(X, Z, out=out)
    assert relu is out["relu"]
    strided = np.zeros((2, 4, 4, 8), np.float32)[..., ::2]
    assert model(X, Z, out={"sum": strided})[0] is strided
    for got in (total, strided):
        np.testing.assert_array_equal(got, want[0])
    np.testing.assert_array_equal(relu, want[1])
    for wrong, message in (
        (np.zeros((2, 4, 4, 4), np.float32), "expected a mapping"),
        ({"y": Z.copy()}, "expected names among"),
        ({"sum": Z}, "memory that no input shares"),
        ({"sum": out["relu"], "relu": out["relu"]}, "memory that no input shares"),
        ({"sum": np.zeros((2, 4, 4, 3), np.float32)}, "expected shape"),
        ({"sum": np.zeros((2, 4, 4, 4))}, "expected dtype float32"),
    ):
        with pytest.raises(fastconv.FastconvError, match=f"^out: .*{message}"):
            model(X, Z, out=wrong)


@pytest.mark.torch
def test_a_model_gives_tensors_for_tensors():
    torch = pytest.importorskip("torch")
    model, (x, z) = network(), map(torch.from_numpy, (X, Z))
    want = model(X, Z)
    out = torch.empty(2, 4, 4, 4)
    got = model(x, z=z, out={"sum": out})
    assert got[0] is out
    assert type(got[1]) is torch.Tensor
    (relu,) = model.run(["relu"], {"x": x, "z": z})
    assert type(relu) is torch.Tensor
    for a, b in ((out, want[0]), (got[1], want[1]), (relu, want[1])):
        np.testing.assert_array_equal(a.numpy(), b)


def test_nothing_imports_torch():
    before = "torch" in sys.modules
    fastconv.relu(Standard(X))
    assert ("torch" in sys.modules) == before
