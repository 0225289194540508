"""Weights with zeros: what is left out changes no bit, and "auto" leaves it out where that pays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv import _core
from fastconv.errors import ShapeError
from fastconv.testing import reference, tolerance

every_tier = pytest.mark.usefixtures("tier")

Array = np.ndarray[Any, Any]


def sparse(shape: tuple[int, ...], zeros: float, block: int = 1, seed: int = 0) -> Array:
    """Weights of which a share is zeros, alone or for so many neighbouring output channels together."""
    rng = np.random.default_rng(seed)
    kept = rng.random((-(-shape[0] // block), *shape[1:])) >= zeros
    w = rng.standard_normal(shape) * np.repeat(kept, block, 0)[: shape[0]]
    return w.astype(np.float32)


def channels_last(a: Array | None) -> Array | None:
    return None if a is None else np.ascontiguousarray(np.moveaxis(a, 1, -1))


def taken(conv: Any, shape: tuple[int, ...]) -> str:
    return str(conv.explain(shape).split()[1].rstrip(","))


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Any]:
    kernel = draw(st.sampled_from((1, 1, 1, 2, 3)))
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "groups": (groups := draw(st.sampled_from((1, 1, 2, 3)))),
        "ic": groups * draw(st.integers(1, 70)),
        "oc": groups * draw(st.integers(1, 70)),
        "kernel": kernel,
        "stride": draw(st.integers(1, 2)),
        "padding": draw(st.integers(0, kernel // 2)),
        "dilation": draw(st.integers(1, 2)),
        "size": (
            draw(st.integers(5, 12)),
            draw(st.integers(5, 17)),
        ),  # of a window of 3 dilated by 2 at least
        "images": draw(st.integers(1, 3)),
        "zeros": draw(st.sampled_from((0.0, 0.3, 0.6, 0.9, 1.0))),
        "block": draw(st.sampled_from((1, 16, 32))),
        "activation": draw(st.sampled_from((None, "relu", "gelu"))),
        "residual": draw(st.booleans()),
        "layout": draw(st.sampled_from(("NCHW", "NHWC"))),
    }


@every_tier
@settings(max_examples=60, deadline=None)
@given(layers())
def test_random_layers_against_the_reference_and_the_bits_of_the_dense_product(c: dict[str, Any]) -> None:
    rng = np.random.default_rng(c["seed"])
    w = sparse((c["oc"], c["ic"] // c["groups"], c["kernel"], c["kernel"]), c["zeros"], c["block"], c["seed"])
    x = rng.standard_normal((c["images"], c["ic"], *c["size"])).astype(np.float32)
    bias = rng.standard_normal(c["oc"]).astype(np.float32)
    geometry = {key: c[key] for key in ("stride", "padding", "dilation", "groups")}
    acc = reference.conv(x, w, bias, **geometry)
    residual = rng.standard_normal(acc.shape).astype(np.float32) if c["residual"] else None
    expected = reference.epilogue(acc, residual, c["activation"])
    magnitude = reference.conv_magnitude(x, w, bias, residual, **geometry)
    bound = tolerance.activation_bound(
        tolerance.sum_bound(magnitude, w[0].size), reference.epilogue(acc, residual), c["activation"]
    )
    last = c["layout"] == "NHWC"

    def run(algorithm: str, threads: int) -> Array:
        arrays = [channels_last(a) if last else a for a in (x, residual)]
        with fastconv.threads(threads):
            y = fastconv.conv2d(
                arrays[0], w, bias, residual=arrays[1], activation=c["activation"], layout=c["layout"],
                algorithm=algorithm, **geometry,
            )  # fmt: skip
        return np.moveaxis(y, -1, 1) if last else y

    dense = run("implicit", 1)
    names = ["sparse_panels"]
    if c["kernel"] == 1 and (last or c["stride"] == 1):
        names.append("sparse_planes")
    for name in names:
        y = run(name, 1)
        tolerance.assert_within(y, expected, bound, f"{name}, {c}")
        np.testing.assert_array_equal(y, dense, err_msg=name)
        np.testing.assert_array_equal(run(name, 3), dense, err_msg=name)


@every_tier
def test_transposed_and_other_dimensions() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 20, 5, 6)).astype(np.float32)
    w = sparse((20, 36, 3, 3), 0.7)
    got = fastconv.conv_transpose2d(x, w, stride=2, padding=1, algorithm="sparse_panels")
    expected = fastconv.conv_transpose2d(x, w, stride=2, padding=1, algorithm="implicit")
    np.testing.assert_array_equal(got, expected)
    volume = rng.standard_normal((1, 9, 4, 5, 6)).astype(np.float32)
    w3 = sparse((33, 9, 2, 3, 3), 0.7, 16)
    got = fastconv.conv3d(volume, w3, padding=1, algorithm="sparse_panels")
    np.testing.assert_array_equal(got, fastconv.conv3d(volume, w3, padding=1, algorithm="implicit"))


@every_tier
def test_an_image_has_the_same_bits_alone_and_in_a_batch() -> None:
    x = np.random.default_rng(0).standard_normal((5, 7, 7, 96)).astype(np.float32)
    for algorithm, block in (("sparse_planes", 1), ("sparse_panels", 16)):
        conv = fastconv.Conv2d(sparse((80, 96, 1, 1), 0.8, block), layout="NHWC", algorithm=algorithm)
        whole = conv(x)
        for i in range(len(x)):
            np.testing.assert_array_equal(conv(x[i : i + 1]), whole[i : i + 1])


@every_tier
def test_rows_that_lie_apart() -> None:
    """Images within larger ones: their pixels are no single step apart."""
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 40)).astype(np.float32)[:, 1:8, 2:7]
    w = sparse((24, 40, 1, 1), 0.8)
    whole = np.zeros((2, 12, 12, 30), np.float32)
    out = whole[:, 3:10, 4:9, 3:27]
    for stride in (1, 2):
        expected = fastconv.conv2d(x.copy(), w, stride=stride, layout="NHWC", algorithm="implicit")
        for name in ("sparse_planes", "sparse_panels"):
            part = out[:, : expected.shape[1], : expected.shape[2]]
            fastconv.conv2d(x, w, stride=stride, layout="NHWC", algorithm=name, out=part)
            np.testing.assert_array_equal(part, expected)
    whole[:, 3:10, 4:9, 3:27] = 0
    assert not whole.any()


def test_auto_takes_what_its_model_says() -> None:
    dense = fastconv.Conv2d(sparse((256, 256, 1, 1), 0.0), layout="NHWC")
    shape = (1, 14, 14, 256)
    assert taken(dense, shape) == "implicit"
    assert "0 % of its weights are zeros, it takes 50 %" in dense.explain(shape)
    assert "0 % of its blocks of 16 weights are zeros, it takes 10 %" in dense.explain(shape)
    for zeros, block, algorithm in (
        (0.9, 1, "sparse_planes"),
        (0.6, 32, "sparse_panels"),
        (0.3, 1, "implicit"),
    ):
        conv = fastconv.Conv2d(sparse((256, 256, 1, 1), zeros, block), layout="NHWC")
        assert taken(conv, shape) == algorithm
    conv = fastconv.Conv2d(sparse((256, 256, 1, 1), 0.9), layout="NHWC")
    assert "90 % of weights are zeros" in conv.explain(shape)
    # A call that packs its weights for itself does not look for zeros.
    one = fastconv.conv.plan(
        sparse((256, 256, 1, 1), 0.9), None, 1, 0, 1, 1, None, "auto", spatial=2, once_for=(1, 256, 14, 14)
    )
    assert one.algorithm((1, 256, 14, 14)) == "implicit"


def test_winograd_is_weighed_against_zeros() -> None:
    shape = (1, 28, 28, 128)
    found = [
        taken(fastconv.Conv2d(sparse((128, 128, 3, 3), zeros, 32), padding=1, layout="NHWC"), shape)
        for zeros in (0.3, 0.95)
    ]
    assert found == ["winograd_f4", "sparse_panels"]


@every_tier
def test_what_a_zero_is_multiplied_with_is_not_read() -> None:
    w = sparse((32, 32, 1, 1), 0.5, 32)
    w[:, 3] = 0
    x = np.ones((1, 4, 5, 32), np.float32)
    x[..., 3] = np.inf
    for algorithm in ("sparse_panels", "sparse_planes"):
        assert np.isfinite(fastconv.conv2d(x, w, layout="NHWC", algorithm=algorithm)).all()


def joined(arrays: list[Array]) -> Array:
    """One after another, each from a multiple of 64 bytes on: as a file has them."""
    whole = [np.pad(a.view(np.uint8), (0, -a.nbytes % 64)) for a in arrays]
    return np.concatenate(whole).view(np.float32)


def stored_plan(algorithm: str, w: Array, stored: dict[str, Array]) -> _core.Conv:
    return _core.Conv(
        w, None, spatial=2, stride=[1, 1], padding_lo=[0, 0], padding_hi=[0, 0], dilation=[1, 1], groups=1,
        auto_pad="explicit", transposed=False, output_padding=[0, 0], act="none", alpha=0.0, beta=0.0,
        precision="fast", algorithm=algorithm, stored=stored,
    )  # fmt: skip


@every_tier
@pytest.mark.parametrize(
    ("algorithm", "block"), [("sparse_panels", 16), ("sparse_panels", 32), ("sparse_planes", 1)]
)
def test_stored_weights(algorithm: str, block: int) -> None:
    w = sparse((128, 256, 1, 1), 0.9, block)
    original = stored_plan(algorithm, w, {})
    arrays = original.packed()[algorithm]
    x = np.random.default_rng(0).standard_normal((1, 256, 14, 14)).astype(np.float32)

    def run(conv: _core.Conv) -> Array:
        y = np.empty((1, 128, 14, 14), np.float32)
        conv.run(x, y)
        return y

    whole = joined(arrays)
    for nothing in (np.full(w.shape, np.nan, np.float32), np.broadcast_to(np.float32(0), w.shape)):
        conv = stored_plan(algorithm, nothing, {algorithm: whole})
        np.testing.assert_array_equal(run(conv), run(original))
        assert all(np.shares_memory(a, whole) for a in conv.packed()[algorithm])
    # Without the weights, that zeros were left out says that it paid.
    conv = stored_plan("auto", np.broadcast_to(np.float32(0), w.shape), {algorithm: whole})
    assert conv.algorithm(x.shape) == algorithm
    for wrong in (whole[:-16], whole[:16], whole[:0], np.pad(whole, (0, 16))):
        with pytest.raises(ShapeError, match="stored weights"):
            stored_plan(algorithm, w, {algorithm: wrong})


@pytest.mark.parametrize("algorithm", ["sparse_panels", "sparse_planes"])
@pytest.mark.parametrize("value", [-1, 256, 2**31 - 1, -(2**31)])
def test_stored_lists_that_point_elsewhere_are_refused(algorithm: str, value: int) -> None:
    w = sparse((128, 256, 1, 1), 0.9, 32)
    arrays = [a.copy() for a in stored_plan(algorithm, w, {}).packed()[algorithm]]
    lists = [a for a in arrays if a.dtype == np.int32]
    assert len(lists) == (3 if algorithm == "sparse_panels" else 2)
    for a in lists:
        before = a[-1]
        a[-1] = value if a is lists[-1] or value != 256 else 257
        with pytest.raises(ShapeError, match="stored weights"):
            stored_plan(algorithm, w, {algorithm: joined(arrays)})
        a[-1] = before
    stored_plan(algorithm, w, {algorithm: joined(arrays)})


def test_a_network_keeps_its_zeros_in_a_compiled_file(tmp_path: Any) -> None:
    from fastconv.graph.ir import GraphBuilder

    builder = GraphBuilder("sparse", {"w": sparse((256, 256, 1, 1), 0.9), "v": sparse((256, 64), 0.95)})
    x = builder.input("x", ("batch", 256, 14, 14))
    y = builder.add("GlobalAveragePool", builder.add("Conv", x, "w"))
    builder.output(builder.add("MatMul", builder.add("Flatten", y), "v"))
    model = fastconv.Model(builder.build())
    x = np.random.default_rng(0).standard_normal((2, 256, 14, 14)).astype(np.float32)
    expected = model(x)
    assert "sparse_planes" in model.explain(x.shape)
    path = tmp_path / "net.fcm"
    model.save(path)
    loaded = fastconv.load(path)
    np.testing.assert_array_equal(loaded(x), expected)
    assert "sparse_planes" in loaded.explain(x.shape)
