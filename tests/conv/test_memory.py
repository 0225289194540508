"""Which memory is read and written: arrays beside unmapped pages, strided and broadcast inputs, ``out=``."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import fastconv
from fastconv.testing import reference
from fastconv.testing.guard import guarded, guarded_empty

every_tier = pytest.mark.usefixtures("tier")


def run_guarded(p, algorithm, layout, align_end):
    """Run with every array beside an unmapped page; a read or write outside of one kills the process."""

    def place(a):
        if a is None or a.ndim < 4:
            return None if a is None else guarded(a, align_end=align_end)
        return guarded(a.transpose(0, 2, 3, 1) if layout == "NHWC" else a, align_end=align_end)

    expected = p.expected.transpose(0, 2, 3, 1) if layout == "NHWC" else p.expected
    out = guarded_empty(expected.shape, align_end=align_end)
    y = fastconv.conv2d(
        place(p.x),
        guarded(p.w, align_end=align_end),
        place(p.bias),
        residual=place(p.residual),
        activation=p.activation,
        layout=layout,
        algorithm=algorithm,
        out=out,
        **p.geometry,
    )
    assert y is out
    p.assert_right(y.transpose(0, 3, 1, 2) if layout == "NHWC" else y, algorithm, layout)


def run_all_guarded(p):
    for layout in ("NCHW", "NHWC"):
        for algorithm in p.results(layout=layout):
            for align_end in (True, False):
                run_guarded(p, algorithm, layout, align_end)


@every_tier
@pytest.mark.parametrize("oc", [*range(1, 34), 47, 48, 49, 63, 64, 65])
def test_guarded_output_channels(problem, oc):
    run_all_guarded(problem((1, 1 + oc % 5, 3, 1 + oc % 7), (oc, 1 + oc % 5, 3, 3), padding=1, residual=True))


@every_tier
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 9, 11, 16, 17, 24, 31, 33])
def test_guarded_planes(problem, width):
    run_all_guarded(problem((2, 5, 3, width), (1 + width, 5, 1, 1), residual=True))
    run_all_guarded(problem((1, 6, width, 1), (4, 3, 1, 1), groups=2, activation="relu"))


@every_tier
@pytest.mark.parametrize("width", [56, 57, 58, 65])
@pytest.mark.parametrize("padding", [0, 1, (0, 0, 1, 1), (2, 2, 0, 0)])
def test_guarded_depthwise_with_stride(problem, width, padding):
    """Wide enough to be read in place but for its sides."""
    for channels in (16, 48, 20):
        run_all_guarded(
            problem(
                (1, channels, 5, width), (channels, 1, 3, 3), padding=padding, stride=2, groups=channels,
                residual=True,
            )
        )  # fmt: skip


@every_tier
@pytest.mark.parametrize("ic", [*range(1, 18), 23, 31, 32, 33])
def test_guarded_input_channels(problem, ic):
    run_all_guarded(problem((1, ic, 4, 3), (3, ic, 2, 3), residual=True))
    run_all_guarded(problem((1, ic, 3, 5), (9, ic, 1, 1), stride=2))


@every_tier
@pytest.mark.parametrize("pixels", range(1, 30))
def test_guarded_rows(problem, pixels):
    run_all_guarded(problem((1, 5, 1, pixels), (6, 5, 1, 1), residual=True, activation="relu"))
    run_all_guarded(problem((1, 2, 2, pixels), (3, 2, 1, 3), padding=(0, 1)))


@every_tier
@pytest.mark.parametrize("channels", [*range(1, 18), 23, 31, 32, 33])
@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_guarded_depthwise(problem, channels, multiplier):
    shapes = (1, channels, 5, 6), (channels * multiplier, 1, 3, 3)
    run_all_guarded(problem(*shapes, padding=1, groups=channels, residual=True, activation="relu6"))
    run_all_guarded(problem(*shapes, stride=2, groups=channels))


@every_tier
@pytest.mark.parametrize("per_group", [(1, 2), (2, 1), (2, 2), (3, 3), (4, 4), (5, 7), (8, 8), (16, 4)])
@pytest.mark.parametrize("groups", [2, 3, 9])
def test_guarded_groups(problem, groups, per_group):
    ic, oc = per_group
    p = problem((1, groups * ic, 4, 5), (groups * oc, ic, 3, 3), padding=1, groups=groups, residual=True)
    run_all_guarded(p)


@every_tier
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("channels", [1, 3, 8, 11, 16, 17, 31, 32, 33])
@pytest.mark.parametrize("dilation", [1, 2])
def test_guarded_tiles(problem, kernel, channels, dilation):
    """Winograd's transforms: windows that hang over each edge, vectors of channels that are not whole."""
    for size in ((8, 9), (13, 10)):
        run_all_guarded(
            problem(
                (1, channels, *size), (channels + 2, channels, kernel, kernel), padding=kernel // 2,
                dilation=dilation, residual=True, activation="relu",
            )
        )  # fmt: skip


@every_tier
@pytest.mark.parametrize("kernel", [(5, 5), (7, 7), (3, 5), (2, 2), (1, 4)])
@pytest.mark.parametrize("geometry", [{}, {"stride": 2}, {"dilation": 2}], ids=str)
def test_guarded_kernels_of_groups(problem, kernel, geometry):
    """Bands of rows of every width, and the kernels without bands, depthwise and in groups."""
    padding = tuple(k // 2 for k in kernel)
    for channels, per_group in ((9, 1), (32, 1), (35, 1), (12, 4), (32, 16), (64, 32)):
        p = problem(
            (1, channels, 14, 17), (channels, per_group, *kernel), padding=padding,
            groups=channels // per_group, residual=True, activation="silu", **geometry,
        )  # fmt: skip
        run_all_guarded(p)


@every_tier
@pytest.mark.parametrize("spatial", [1, 3])
def test_guarded_rows_and_volumes(problem, spatial):
    size, kernel = (4, 5, 11)[-spatial:], (2, 3, 3)[-spatial:]
    for ic, oc, groups, stride in ((5, 9, 1, 1), (3, 17, 1, 2), (6, 6, 6, 1), (8, 12, 2, 1)):
        p = problem((2, ic, *size), (oc, ic // groups, *kernel), padding=1, groups=groups, stride=stride)
        for align_end in (True, False):
            out = guarded_empty(p.expected.shape, align_end=align_end)
            near = type(p)(
                *(guarded(a, align_end=align_end) for a in (p.x, p.w, p.bias)), geometry=p.geometry
            )
            for algorithm in p.results():
                assert near.run(algorithm=algorithm, out=out) is out
                p.assert_right(out, algorithm)


@every_tier
@pytest.mark.parametrize("channels", [*range(1, 10), 15, 16, 17, 33])
def test_guarded_transposed(channels, rng):
    for groups, kernel, stride in ((1, 3, 2), (1, 2, 2), (1, 4, 1), (channels, 3, 2)):
        x = rng.integers(-4, 5, (1, channels, 5, 6)).astype(np.float32)
        w = rng.integers(-4, 5, (channels, (channels + 2) // groups, kernel, kernel)).astype(np.float32)
        bias = rng.integers(-4, 5, w.shape[1] * groups).astype(np.float32)
        expected = reference.conv_transpose(x, w, bias, stride=stride, padding=1, groups=groups)
        for align_end in (True, False):
            near = [guarded(a, align_end=align_end) for a in (x, w, bias)]
            out = guarded_empty(expected.shape, align_end=align_end)
            fastconv.conv_transpose2d(*near, stride=stride, padding=1, groups=groups, out=out)
            np.testing.assert_array_equal(out, expected)


VIEWS = {
    "fortran": np.asfortranarray,
    "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "every other column": lambda a: np.repeat(a, 2, axis=3)[..., ::2],
    "every other channel": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "a crop": lambda a: np.pad(a, 2, constant_values=np.nan)[2:-2, 2:-2, 2:-2, 2:-2],
    "upside down": lambda a: np.ascontiguousarray(a[:, :, ::-1])[:, :, ::-1],
    "mirrored": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "channels reversed": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "all reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1],
    "rotated": lambda a: np.ascontiguousarray(a.swapaxes(2, 3)).swapaxes(2, 3),
    "between elements": lambda a: at_offset(a, 1),
    "read-only": lambda a: read_only(a),
}


def at_offset(a, offset):
    memory = np.zeros(a.nbytes + offset, np.uint8)
    view = memory[offset:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


@every_tier
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "shapes",
    [((2, 5, 7, 6), (9, 5, 3, 3), 1), ((2, 5, 7, 6), (5, 1, 3, 3), 5), ((2, 5, 7, 6), (9, 5, 1, 1), 1)],
)
def test_views(problem, view, shapes):
    x_shape, w_shape, groups = shapes
    p = problem(x_shape, w_shape, groups=groups, residual=True)
    change = VIEWS[view]
    x, w, residual = change(p.x), change(p.w), change(p.residual)
    np.testing.assert_array_equal(x, p.x)
    for algorithm in p.results():
        y = fastconv.conv2d(x, w, p.bias, groups=groups, residual=residual, algorithm=algorithm)
        p.assert_right(y, algorithm)
    np.testing.assert_array_equal(x, p.x)


def test_views_of_channels_last(problem):
    p = problem((2, 6, 7, 5), (6, 6, 3, 3), residual=True)
    x = np.repeat(p.x.transpose(0, 2, 3, 1), 2, axis=2)[:, :, ::2]
    residual = p.residual.transpose(0, 2, 3, 1)
    y = fastconv.conv2d(x, p.w, p.bias, residual=residual, layout="NHWC")
    p.assert_right(y.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (0, 1, 2, 3)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_broadcast_inputs(problem, axes, layout):
    p = problem((3, 4, 6, 5), (7, 4, 3, 3), padding=1)
    strides = [0 if i in axes else s for i, s in enumerate(p.x.strides)]
    x = as_strided(p.x, p.x.shape, strides)
    w = np.broadcast_to(p.w[:1], p.w.shape)
    dense = type(p)(x.copy(), w.copy(), geometry=p.geometry)
    given = x.transpose(0, 2, 3, 1) if layout == "NHWC" else x
    y = fastconv.conv2d(given, w, padding=1, layout=layout)
    dense.assert_right(y.transpose(0, 3, 1, 2) if layout == "NHWC" else y)


OUTPUTS = {
    "contiguous": lambda shape: np.full(shape, np.nan, np.float32),
    "channels last": lambda shape: np.full(np.take(shape, (0, 2, 3, 1)), np.nan, np.float32).transpose(
        0, 3, 1, 2
    ),
    "every other column": lambda shape: np.full((*shape[:3], 2 * shape[3]), np.nan, np.float32)[..., ::2],
    "every other channel": lambda shape: np.full((shape[0], 2 * shape[1], *shape[2:]), np.nan, np.float32)[
        :, 1::2
    ],
    "a crop": lambda shape: np.full(np.add(shape, 2), np.nan, np.float32)[1:-1, 1:-1, 1:-1, 1:-1],
    "reversed": lambda shape: np.full(shape, np.nan, np.float32)[::-1, ::-1, ::-1, ::-1],
}


@every_tier
@pytest.mark.parametrize("form", OUTPUTS)
@pytest.mark.parametrize("groups", [1, 6])
def test_out_of_any_strides(problem, form, groups):
    p = problem((2, 6, 7, 5), (18, 6 // groups, 3, 3), padding=1, groups=groups, residual=True)
    for algorithm in p.results():
        out = OUTPUTS[form]((2, 18, 7, 5))
        whole = out if out.base is None else out.base
        y = fastconv.conv2d(
            p.x, p.w, p.bias, padding=1, groups=groups, residual=p.residual, algorithm=algorithm, out=out
        )
        assert y is out
        p.assert_right(out, algorithm)
        assert np.isnan(whole).sum() == whole.size - out.size, (
            "memory between the elements of out was written"
        )


def test_inputs_are_not_written(problem):
    p = problem((1, 6, 7, 5), (6, 6, 3, 3), padding=1, residual=True)
    arrays = (p.x, p.w, p.bias, p.residual)
    before = [a.copy() for a in arrays]
    for layout in ("NCHW", "NHWC"):
        p.results(layout=layout)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_objects_that_export_arrays(problem):
    p = problem((1, 3, 5, 5), (4, 3, 3, 3))

    class Exporter:
        def __init__(self, a):
            self.a = a

    class ByArray(Exporter):
        def __array__(self, dtype=None, copy=None):
            return self.a

    class ByDlpack(Exporter):
        def __dlpack__(self, **keywords):
            return self.a.__dlpack__(**keywords)

        def __dlpack_device__(self):
            return self.a.__dlpack_device__()

    for wrap in (ByArray, ByDlpack):
        p.assert_right(fastconv.conv2d(wrap(p.x), wrap(p.w), wrap(p.bias)))


def test_recycled_memory_brings_nothing_along():
    """Large blocks are used again: images, patches and weights of one call lie where another left NaN."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (1, 32, 192, 192)).astype(np.float32)  # 4.7 MB, staged with its padding
    w = rng.integers(-3, 4, (32, 32, 3, 3)).astype(np.float32)
    calls = [
        lambda a, b, name=name: fastconv.conv2d(a, b, padding=1, algorithm=name)
        for name in ("implicit", "im2col", "winograd_f4")
    ]
    calls.append(lambda a, b: fastconv.conv2d(a, b[:, :1].copy(), padding=1, groups=32))
    expected = [call(x, w) for call in calls]
    assert all(np.isfinite(y).all() for y in expected)
    np.testing.assert_array_equal(expected[0], expected[1])  # sums of small integers are exact
    for poison in calls:
        assert np.isnan(poison(np.full_like(x, np.nan), w)).any()
        for call, y in zip(calls, expected, strict=True):
            np.testing.assert_array_equal(call(x, w), y)
    with fastconv.threads(2):
        for call, y in zip(calls, expected, strict=True):
            np.testing.assert_array_equal(call(x, w), y)


def test_repeated_calls_take_no_new_pages():
    """The staged image of a functional call lies where the last call's did; a fresh one is 500 pages."""
    resource = pytest.importorskip("resource")  # POSIX
    x, w = np.ones((1, 32, 128, 128), np.float32), np.ones((32, 1, 3, 3), np.float32)
    out = np.empty_like(x)
    for _ in range(3):
        fastconv.conv2d(x, w, padding=1, groups=32, out=out)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(6):
        fastconv.conv2d(x, w, padding=1, groups=32, out=out)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 200
