"""Plan objects: a convolution whose weights are packed once and that is called many times.

Those of 8-bit integers, in :mod:`fastconv.qconv`, share what is here.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

import numpy as np

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv._geometry import Border, border_of, frozen_geometry, geometry_of
from fastconv._kept_kind import kept_kind
from fastconv._threads import as_count, threads_of
from fastconv._types import Activation, ArrayLike, Given, Layout2d, Numbers, Padding, PaddingMode, Precision
from fastconv.errors import ArgumentError, DTypeError, ModelError, ShapeError


def check_algorithm(algorithm: Any) -> None:
    """Refuse what is no name; the algorithms themselves know whose name it is."""
    if not isinstance(algorithm, str):
        raise DTypeError(f"algorithm: expected a name, got {type(algorithm).__name__}")


def plan(
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    activation: Any,
    algorithm: Any,
    *,
    spatial: int,
    transposed: bool = False,
    output_padding: Any = 0,
    precision: Any = "fast",
    planar: bool = False,
    once_for: tuple[int, ...] = (),
    borrow: bool = False,
    signs: tuple[float, float] | None = None,
) -> _core.Conv:
    """Check a convolution's arguments other than its input and pack its weights.

    ``planar`` says that the arrays will be planes of channels (NCHW), not pixels of channels. With
    ``once_for``, an input's shape in NC<spatial> order, the plan is for one call with it. Both for one call
    and with ``borrow`` the plan may read ``w`` itself as long as it lives, instead of a copy. With ``signs``,
    those of 0 and NaN, the input's signs are convolved, by filters that have one magnitude each.
    """
    w = arguments.as_array("w", w, rank=spatial + 2)
    check_algorithm(algorithm)
    arguments.check_precision(precision)
    geometry = geometry_of(
        w, stride, padding, dilation, groups,
        spatial=spatial, transposed=transposed, output_padding=output_padding,
    )  # fmt: skip
    act, alpha, beta = arguments.activation("activation", activation)
    return _core.Conv(
        w if w.flags.c_contiguous else w.copy(),
        None if bias is None else arguments.as_array("bias", bias, rank=1),
        **geometry,
        act=act,
        alpha=alpha,
        beta=beta,
        precision=precision,
        planar=planar,
        algorithm=algorithm,
        x_shape=once_for,
        once=bool(once_for),
        borrow=borrow or bool(once_for),
        signs=signs,
    )


def run(
    conv: _core.Conv,
    x: Any,
    residual: Any,
    out: Any,
    channels_last: bool,
    spatial: int,
    borrowed: Any = None,
) -> Any:
    """Run a planned convolution on an array of the caller's layout; it may still read `borrowed` weights."""
    x = arguments.logical(arguments.as_array("x", x, rank=spatial + 2), channels_last)
    shape = conv.out_shape(x.shape)
    inputs: list[FloatArray] = []
    if residual is not None:
        residual = arguments.logical(
            arguments.as_array("residual", residual, rank=spatial + 2), channels_last
        )
        if residual.shape != shape:
            raise ShapeError(
                f"residual: expected the result's shape {shape} (NCHW order), got {residual.shape}"
            )
        inputs.append(residual)
    if out is not None and borrowed is not None:
        inputs.append(arguments.as_array("w", borrowed))
    y = arguments.output(out, shape, x, channels_last, inputs)
    conv.run(x, y, residual)
    return out if out is not None else arguments.physical(y, channels_last)


class _Tuned:
    """The plans of a convolution for the algorithms that were measured to be the fastest for its inputs."""

    def __init__(
        self, build: Callable[[str], _core.Conv], geometry: Mapping[str, Any], *, planar: bool
    ) -> None:
        self._build, self._geometry, self._planar = build, geometry, planar
        self.algorithms: dict[tuple[int, ...], str] = {}  # by threads and input shape
        self._convs: dict[str, _core.Conv] = {}

    @property
    def packed_bytes(self) -> int:
        return sum(conv.packed_bytes for conv in self._convs.values())

    def conv_for(self, shape: tuple[int, ...]) -> _core.Conv:
        """Return the plan for an input's shape in NCHW order."""
        key = (_core.get_num_threads(), *shape)
        if key not in self.algorithms:
            from fastconv.tuning import best_algorithm  # in here: few ask for it, and it takes long to import

            self.algorithms[key] = best_algorithm(self._build, self._geometry, shape, planar=self._planar)
        name = self.algorithms[key]
        if name not in self._convs:
            self._convs[name] = self._build(name)
        return self._convs[name]


SIZES = (7, 14, 28, 56, 112, 224)  # of images that explain() lists where none was there


class Convolution:
    """What planned convolutions share, whatever their numbers are: shapes, threads, pickles.

    Nothing changes what such an object computes. Its arguments, by the names that its class takes, are what a
    pickle has.
    """

    _conv: _core.Conv | _core.IntegerConv
    _arguments: dict[str, Any]
    _spatial = 2
    _border: Border | None = None  # what is put around an input before its plan runs
    _last: tuple[int, ...] | None = None  # the shape of the last call's input, where that tells it

    def __init__(self, layout: Any, threads: Any) -> None:
        self._threads = None if threads is None else as_count("threads", threads)
        self._channels_last = arguments.is_channels_last(layout, self._spatial)
        self._layout: str = layout

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (type(self), self._arguments)

    def __setstate__(self, state: object) -> None:
        """Refuse a state: the arguments say everything."""
        shown = arguments.shown(state)
        raise ModelError(f"{type(self).__name__}: expected a pickle without a state, got {shown}")

    @property
    def algorithm(self) -> str:
        """Name of the algorithm for every input; "auto" where it depends on the size of the image."""
        return self._conv.algorithm()

    def algorithm_for(self, x_shape: tuple[int, ...]) -> str:
        """Return the name of the algorithm for an input of that shape, in this object's layout."""
        shape = self._logical(x_shape)
        with threads_of(self._threads):
            return self._conv_for(shape).algorithm(shape)

    def _conv_for(self, shape: tuple[int, ...]) -> _core.Conv | _core.IntegerConv:  # noqa: ARG002
        """Return the plan for an input's shape in NCHW order."""
        return self._conv

    @property
    def packed_bytes(self) -> int:
        """Size of the packed weights in bytes."""
        return self._conv.packed_bytes

    def out_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the result for an input of that shape, both in this object's layout."""
        n, c, *image = self._conv.out_shape(self._logical(x_shape))
        return (n, *image, c) if self._channels_last else (n, c, *image)

    def _logical(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return an input's shape in NC<spatial> order."""
        if not isinstance(x_shape, tuple | list):
            raise DTypeError(f"x_shape: expected a tuple of integers, got {arguments.shown(x_shape)}")
        if len(x_shape) != self._spatial + 2:
            raise ShapeError(f"x: expected {self._spatial + 2} dimensions, got {len(x_shape)}")
        n, *image = (arguments.integer("x_shape", size, 0) for size in x_shape)
        return self._bordered((n, image[-1], *image[:-1]) if self._channels_last else (n, *image))

    def _bordered(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return an input's shape in NC<spatial> order with the border that it gets before its plan runs."""
        return shape if self._border is None else self._border.shape(shape)

    def explain(self, x_shape: tuple[int, ...] | None = None) -> str:
        """Say which algorithm and register tile run, and why each other algorithm does not.

        Parameters
        ----------
        x_shape : tuple of int, optional
            An input's shape in this object's layout. None: that of the last call. Before any, where the
            choice depends on the size, the answer is what square images of some sizes get.
        """
        if x_shape is None and self._last is None and self.algorithm == "auto":
            return self._explain_sizes()
        known = self._last if x_shape is None else x_shape
        shape = None if known is None else self._logical(known)
        with threads_of(self._threads):
            facts = (self._conv if shape is None else self._conv_for(shape)).explain(shape)
        tile = f", tile {facts['tile']}" if facts["tile"] else ""
        lines = [
            f"algorithm {facts['algorithm']}{tile} ({_core.active_tier()}), "
            f"{facts['packed_bytes']} bytes packed, layout {self._layout}"
        ]
        if x_shape is None and known is not None:
            lines[0] += f", as for the last call's input {tuple(known)}"
        lines += [f"  not {name}: {reason}" for name, reason in facts["rejected"].items()]
        return "\n".join(lines)

    def _explain_sizes(self) -> str:
        """Say what square images of some sizes get, where the choice waits for one."""
        w, groups = self._arguments["w"], self._arguments["groups"]
        lines = [f"algorithm by the image's size ({_core.active_tier()}), layout {self._layout}:"]
        for size in SIZES:
            shape = (1, groups * w.shape[1], *(size,) * self._spatial)
            with contextlib.suppress(ShapeError):  # smaller than the kernel or the border
                shape = self._bordered(shape)
                name = self._conv_for(shape).algorithm(shape)
                lines.append(f"  {'x'.join([str(size)] * self._spatial)}: {name}")
        with threads_of(self._threads):
            rejected = self._conv.explain(None)["rejected"]
        lines += [
            f"  not {name}: {reason}" for name, reason in rejected.items() if not reason.startswith("accepts")
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<fastconv.{type(self).__name__} {self.algorithm} {self._layout}>"


class FloatConvolution(Convolution):
    """What planned convolutions of float32 share; each class says what its arguments are called."""

    _conv: _core.Conv
    _transposed = False

    def _make(
        self,
        w: Any,
        bias: Any,
        geometry: dict[str, Any],
        activation: Any,
        *,
        algorithm: Any,
        tune: Any = False,
        padding_mode: Any = "zeros",
        **options: Any,
    ) -> None:
        """Pack the weights; ``geometry`` and ``options`` are arguments of the class."""
        tune = arguments.flag("tune", tune)
        if tune and isinstance(algorithm, str) and algorithm != "auto":
            raise ArgumentError(
                f"tune: expected algorithm='auto' beside it, got {arguments.shown(algorithm)}"
            )
        # Nobody else has these arrays: plans read them, and a pickle has them.
        w = np.array(arguments.as_array("w", w, rank=self._spatial + 2), order="C")
        bias = None if bias is None else arguments.as_array("bias", bias, rank=1).copy()
        layer: dict[str, Any] = {
            "w": w, "bias": bias, **geometry, **options,
            "activation": arguments.frozen_activation(activation),
        }  # fmt: skip
        planar = not self._channels_last
        made_of = dict(layer)
        self._border = border_of(padding_mode, w.shape[2:], geometry)
        if self._border is not None:  # which a copy of the input has
            geometry = geometry | {"padding": 0}
            layer |= geometry

        def build(algorithm: str) -> _core.Conv:
            return plan(
                **layer, algorithm=algorithm, spatial=self._spatial, transposed=self._transposed,
                planar=planar and not self._transposed, borrow=True,
            )  # fmt: skip

        self._conv = build(algorithm)
        self._arguments = made_of | {
            "layout": self._layout, "algorithm": algorithm, "threads": self._threads,
        }  # fmt: skip
        self._tuned: _Tuned | None = None
        if not self._transposed:
            self._arguments |= {"tune": tune, "padding_mode": padding_mode}
        if tune:
            from fastconv.tuning import zeros_of  # as in _Tuned

            facts = {"w": w.shape, **zeros_of(w), **geometry, **options, "layout": self._layout}
            self._tuned = _Tuned(build, facts, planar=planar)

    def __reduce__(self) -> tuple[Any, ...]:
        made_of = super().__reduce__()
        return made_of if self._tuned is None else (*made_of, dict(self._tuned.algorithms))

    def __setstate__(self, state: object) -> None:
        """Take the algorithms that were measured to be the fastest where the object was pickled."""
        tuned = getattr(self, "_tuned", None)  # None of its own: it takes no state
        if (
            tuned is None
            or not isinstance(state, dict)
            or not all(_is_measured(entry, self._spatial) for entry in state.items())
        ):
            raise ModelError(
                f"{type(self).__name__}: expected a pickle with the algorithms of a tuned"
                f" convolution by threads and shape, got {arguments.shown(state)}"
            )
        tuned.algorithms.update(state)

    def _conv_for(self, shape: tuple[int, ...]) -> _core.Conv:
        """Return the plan for an input's shape in NC<spatial> order."""
        return self._conv if self._tuned is None else self._tuned.conv_for(shape)

    @property
    def packed_bytes(self) -> int:
        """Size of the packed weights in bytes."""
        return self._conv.packed_bytes + (0 if self._tuned is None else self._tuned.packed_bytes)

    @kept_kind("x", "residual")
    def __call__(self, x: Given | Numbers, *, residual: ArrayLike | None = None, out: Any = None) -> Given:
        """Convolve `x`; `residual` is added before the activation; `out` receives the result where given."""
        with threads_of(self._threads):
            conv, image = self._conv, cast(Any, x)
            if self._border is not None or self._tuned is not None:
                image = arguments.as_array("x", x, rank=self._spatial + 2)
                conv = self._conv_for(self._logical(image.shape))
            if self._border is not None:
                image = self._border.around(image, self._channels_last)
            y: Given = run(conv, image, residual, out, self._channels_last, self._spatial)
        self._last = getattr(x, "shape", None)
        return y


class Conv2d(FloatConvolution):
    """A two-dimensional convolution, planned and packed once, callable many times.

    Parameters
    ----------
    w : array, shape (oc, ic / groups, kh, kw), float32
        The filters. They are copied, and packed; later changes to the array have no effect.
    bias : array, shape (oc,), float32, optional
    stride, padding, dilation, groups, activation, algorithm, precision, padding_mode
        As for :func:`fastconv.conv2d`.
    layout : {"NCHW", "NHWC"}
        Layout of the input, the residual and the result. NHWC is used in place; NCHW is reordered at both
        ends, but for 1x1 kernels.
    tune : bool
        Take the algorithm that is measured to be the fastest here (:mod:`fastconv.tuning`): the first call
        with an input's shape takes a fraction of a second, unless the result is on disk from an earlier
        time. Which algorithm runs, and so how sums are rounded, then depends on the machine and on the
        threads.
    threads : int, optional
        How many threads its calls use, as for :class:`Model`.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the arguments make no convolution; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> conv = Conv2d(np.ones((8, 3, 3, 3), np.float32), padding=1, activation="relu", layout="NHWC")
    >>> conv(np.ones((1, 5, 5, 3), np.float32)).shape
    (1, 5, 5, 8)
    >>> conv.algorithm_for((1, 5, 5, 3))
    'implicit'

    Notes
    -----
    Where the best algorithm depends on the size of the image, it is chosen, and the weights packed for it, at
    the first call of a size that wants it; the object keeps its copy of the filters for that, and to be
    pickled. A pickle has the filters as they were given and all options, and, of a tuned convolution, the
    algorithms that were measured to be the fastest. Copies are the object itself, which nothing changes.
    """

    def __init__(
        self,
        w: ArrayLike,
        bias: ArrayLike | None = None,
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        *,
        layout: Layout2d = "NCHW",
        activation: Activation = None,
        algorithm: str = "auto",
        precision: Precision = "fast",
        tune: bool = False,
        padding_mode: PaddingMode = "zeros",
        threads: int | None = None,
    ) -> None:
        super().__init__(layout, threads)
        geometry = frozen_geometry(stride, padding, dilation, groups, self._spatial)
        self._make(
            w, bias, geometry, activation,
            algorithm=algorithm, tune=tune, precision=precision, padding_mode=padding_mode,
        )  # fmt: skip


def reopened(kind: object, given: object) -> Convolution:
    """Make a pickled convolution again; ModelError where a pickle has something else than its arguments."""
    of = kind.__mro__ if isinstance(kind, type) else ()
    kinds = (Convolution, FloatConvolution)
    base = next((p for p in of if p not in kinds and set(kinds) & set(p.__bases__)), None)  # or a caller's
    if base is None:
        raise ModelError(f"a convolution: expected a pickle of its kind, got {arguments.shown(kind)}")
    expected = set(inspect.signature(base).parameters)
    if not isinstance(given, dict) or set(given) != expected:
        raise ModelError(
            f"{base.__name__}: expected a pickle with its arguments {sorted(expected)}, "
            f"got {arguments.shown(given)}"
        )
    made: Convolution = kind(**given)  # type: ignore[operator]  # a class, as its bases tell
    return made


def _is_measured(entry: tuple[Any, Any], spatial: int) -> bool:
    """Tell whether something is the name of an algorithm after threads and an input's shape."""
    key, name = entry
    whole = isinstance(key, tuple) and len(key) == spatial + 3 and all(type(n) is int for n in key)
    return whole and isinstance(name, str) and name in _core.algorithms()
