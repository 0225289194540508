"""The specification itself against torch in float64, so that the kernels are held to the right thing."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.testing import reference

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
F = torch.nn.functional


@pytest.fixture(autouse=True)
def one_thread():
    """Keep torch from waking threads for a handful of pixels, which costs more than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(a)) for a in arrays]


def agree(actual, expected):
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-10, atol=1e-12)


def some(rng, count, low, high):
    return tuple(map(int, rng.integers(low, high, count)))


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_convolutions(rng, spatial):
    forward = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    backward = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[spatial - 1]
    for _ in range(50):
        groups = int(rng.integers(1, 4))
        ic, oc = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
        kernel, stride = some(rng, spatial, 1, 4), some(rng, spatial, 1, 4)
        dilation, padding = some(rng, spatial, 1, 3), some(rng, spatial, 0, 3)
        extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
        geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        x = rng.standard_normal((2, ic, *some(rng, spatial, 6, 9)))
        w, bias = rng.standard_normal((oc, ic // groups, *kernel)), rng.standard_normal(oc)
        agree(reference.conv(x, w, bias, **geometry), forward(*tensors(x, w, bias), **geometry))
        w = rng.standard_normal((ic, oc // groups, *kernel))
        agree(
            reference.conv_transpose(x, w, bias, output_padding=extra, **geometry),
            backward(*tensors(x, w, bias), output_padding=extra, **geometry),
        )


def test_conv_pads_and_ranks(rng):
    x, w = rng.standard_normal((1, 2, 5, 6)), rng.standard_normal((3, 2, 2, 3))
    (tx, tw) = tensors(x, w)
    agree(reference.conv(x, w, padding=(1, 2, 3, 0)), F.conv2d(F.pad(tx, (2, 0, 1, 3)), tw))
    agree(reference.conv(x, w, padding="same"), F.conv2d(F.pad(tx, (1, 1, 0, 1)), tw))
    agree(reference.conv(x, w, padding="same_lower"), F.conv2d(F.pad(tx, (1, 1, 1, 0)), tw))
    agree(reference.conv(x, w, padding="same", stride=2), F.conv2d(F.pad(tx, (0, 1, 0, 1)), tw, stride=2))
    agree(reference.conv(x[:, :, 0, 0], w[:, :, 0, 0]), F.linear(tx[:, :, 0, 0], tw[:, :, 0, 0]))
    magnitude = reference.conv_magnitude(x, w, -np.ones(3), x[:, :1, :4, :4])
    agree(
        magnitude, F.conv2d(tx.abs(), tw.abs(), torch.ones(3, dtype=torch.float64)) + tx[:, :1, :4, :4].abs()
    )


def test_gemm(rng):
    a, b, c, bias = (rng.standard_normal(s) for s in ((4, 3), (5, 4), (3, 1), (5,)))
    expected = torch.tanh(0.5 * tensors(a)[0].T @ tensors(b)[0].T - 2 * tensors(c)[0] + tensors(bias)[0])
    keywords = {"alpha": 0.5, "beta": -2.0, "trans_a": True, "trans_b": True, "bias": bias}
    agree(reference.gemm(a, b, c, activation="tanh", **keywords), expected)
    magnitude = reference.gemm_magnitude(a, b, c, **keywords)
    agree(magnitude, torch.from_numpy(0.5 * np.abs(a.T) @ np.abs(b.T) + 2 * np.abs(c) + np.abs(bias)))


@pytest.mark.parametrize(
    "name",
    [
        *("relu", "relu6", "leaky_relu", "sigmoid", "silu", "hardsigmoid", "hardswish", "gelu", "mish"),
        *("tanh", "elu"),
    ],
)
def test_activations(name):
    x = np.linspace(-40, 40, 2001)
    agree(reference.activate(x, name), getattr(F, name)(*tensors(x)))


def test_activations_with_parameters(rng):
    x = rng.standard_normal(100)
    (t,) = tensors(x)
    agree(reference.activate(x, ("leaky_relu", 0.3)), F.leaky_relu(t, 0.3))
    agree(reference.activate(x, ("elu", 0.3)), F.elu(t, 0.3))
    agree(reference.activate(x, ("clamp", -0.5, 0.7)), t.clamp(-0.5, 0.7))
    agree(reference.activate(x, ("hardsigmoid", 0.2, 0.4)), (0.2 * t + 0.4).clamp(0, 1))
    agree(reference.prelu(x, np.float64(0.2)), F.prelu(t, torch.tensor([0.2], dtype=torch.float64)))
    for name in ("exp", "abs", "neg"):
        agree(reference.activate(x, name), getattr(torch, name)(t))
    agree(reference.activate(x * x, "sqrt"), t.abs())
    agree(reference.activate(x, "gelu_tanh"), F.gelu(t, approximate="tanh"))
    agree(reference.epilogue(x, x, "relu"), F.relu(2 * t))


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pools(rng, ceil_mode):
    for _ in range(100):
        kernel, stride, dilation = some(rng, 2, 1, 5), some(rng, 2, 1, 4), some(rng, 2, 1, 3)
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        x = rng.standard_normal((2, 3, *some(rng, 2, 8, 13)))
        (t,) = tensors(x)
        geometry = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        agree(
            reference.max_pool(x, kernel, dilation=dilation, **geometry),
            F.max_pool2d(t, kernel, dilation=dilation, **geometry),
        )
        for include in (False, True):
            agree(
                reference.avg_pool(x, kernel, count_include_pad=include, **geometry),
                F.avg_pool2d(t, kernel, count_include_pad=include, **geometry),
            )
    agree(reference.global_avg_pool(x), F.adaptive_avg_pool2d(t, 1))


def test_normalisation(rng):
    x = rng.standard_normal((3, 7, 4, 5))
    mean, var, weight, bias = rng.random((4, 7))
    (t,) = tensors(x)
    agree(reference.batch_norm(x, mean, var), F.batch_norm(t, *tensors(mean, var)))
    agree(
        reference.batch_norm(x, mean, var, weight, bias, 0.1),
        F.batch_norm(t, *tensors(mean, var, weight, bias), eps=0.1),
    )
    agree(reference.softmax(x, 1), F.softmax(t, 1))
    agree(reference.softmax(1000 * x), F.softmax(1000 * t, -1))
    agree(reference.lrn(x, 5, 0.01, 0.7, 2.0), F.local_response_norm(t, 5, 0.01, 0.7, 2.0))
    # torch's even windows hold one more channel before, ONNX's (ours) one more after
    agree(reference.lrn(x, 4), F.local_response_norm(t.flip(1), 4).flip(1))


def test_interpolate(rng):
    for _ in range(50):
        x = rng.standard_normal((2, 3, *some(rng, 2, 1, 12)))
        size = some(rng, 2, 1, 20)
        (t,) = tensors(x)
        agree(
            reference.interpolate(x, size, coordinates="asymmetric"), F.interpolate(t, size, mode="nearest")
        )
        agree(reference.interpolate(x, size, mode="linear"), F.interpolate(t, size, mode="bilinear"))
        agree(
            reference.interpolate(x, size, mode="linear", coordinates="align_corners"),
            F.interpolate(t, size, mode="bilinear", align_corners=True),
        )
        size = tuple(3 * s for s in x.shape[2:])
        nearest = reference.interpolate(x, size, coordinates="half_pixel", rounding="round_prefer_ceil")
        agree(nearest, F.interpolate(t, size, mode="nearest-exact"))
