"""Matrix products of 8-bit integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._kept_kind import kept_kind
from fastconv._quantised import finish, zero_points
from fastconv.errors import ArgumentError, ShapeError


class PackedIntegers:
    """The second matrix of :func:`qgemm` in the order that the kernels read, for many products.

    It is a copy, made for the instruction set in use; its zero points are part of it.

    Parameters
    ----------
    b : array, shape (k, n), uint8 or int8
        Any strides.
    zero_point : int or array, shape (n,)
        Numbers of b's type.

    Examples
    --------
    >>> import numpy as np
    >>> b = PackedIntegers(np.array([[1, 2], [3, 4]], np.int8))
    >>> qgemm(np.array([[10, 20]], np.uint8), b)
    array([[ 70, 100]], dtype=int32)
    """

    def __init__(self, b: Any, zero_point: Any = 0) -> None:
        b = arguments.as_bytes("b", b, 2)
        self._packed = _packed(b, "zero_point", zero_point)
        self.shape: tuple[int, int] = b.shape
        self.dtype: np.dtype[Any] = b.dtype

    @property
    def nbytes(self) -> int:
        """How many bytes the packed numbers take."""
        return self._packed.nbytes

    def explain(self) -> str:
        """Return in what form the numbers are packed, and why.

        Without VNNI instructions two products are added in 16 bits at a time. Where two neighbouring weights
        are too large for that, a second vector has the rest of them. Where there are more of these than it
        costs to copy the rows of the other matrix, rows are put in an order that pairs large weights with
        small ones. Where that leaves more than an eighth of the vectors, all have 16 bits.
        """
        packed = self._packed
        if packed.wide:
            return "16 bits each: too many neighbours are larger together than the 8-bit instruction allows"
        form = "8 bits each"
        if packed.ordered:
            form += ", in an order that pairs large numbers with small ones"
        if packed.excess_vectors:
            form += f", and {packed.excess_vectors} vectors beside {packed.vectors}, of what saturates"
        return form

    def __repr__(self) -> str:
        return f"<PackedIntegers {self.shape[0]} x {self.shape[1]}, {self.dtype.name}>"


@kept_kind("a", half=False)
def qgemm(
    a: Any,
    b: Any,
    *,
    a_zero_point: Any = 0,
    b_zero_point: Any = None,
    bias: Any = None,
    a_scale: Any = None,
    b_scale: Any = None,
    out_scale: Any = None,
    out_zero_point: Any = 0,
    out_dtype: Any = None,
    out: Any = None,
) -> NDArray[Any]:
    """Multiply matrices of 8-bit integers: ``(a - a_zero_point) @ (b - b_zero_point) + bias``.

    The sums are exact on every processor, modulo 2**32. Without scales they are the result, as of ONNX's
    MatMulInteger. With `a_scale` and `b_scale` they are multiplied by both, in float32, as a MatMulInteger,
    a Cast and a Mul are. With `out_scale` too the result is quantised anew, as of QLinearMatMul: ``sums *
    (a_scale * b_scale / out_scale)`` in float32, rounded to nearest, ties to even, plus `out_zero_point`,
    saturated.

    Parameters
    ----------
    a : array, shape (m, k), uint8 or int8
        Any strides. Views of uint8 whose rows are contiguous are read in place; others are copied block by
        block.
    b : array, shape (k, n), uint8 or int8, or PackedIntegers
        Any strides.
    a_zero_point : int or array, shape (m,)
        Numbers of a's type: one, or one for each row.
    b_zero_point : int or array, shape (n,), optional
        Numbers of b's type, by default 0; a PackedIntegers has its own.
    bias : array, shape (n,), int32, optional
        Added to the sums; where the result is float32 it may be float32, and is added to that.
    a_scale : float, optional
    b_scale : float or array, shape (n,), float32, optional
    out_scale : float, optional
    out_zero_point : int
        A number of the result's type.
    out_dtype : dtype, optional
        uint8, the default, or int8, with `out_scale`.
    out : array, shape (m, n), optional
        Receives the result; it may not overlap `a` or `b`.

    Returns
    -------
    array, shape (m, n)
        int32, float32, or of `out_dtype`.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    See Also
    --------
    PackedIntegers : a `b` that many products use

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([[1, 2], [3, 4]], np.uint8), np.array([[5, -6], [7, 8]], np.int8)
    >>> qgemm(a, b, a_zero_point=1)
    array([[ 7,  8],
           [31, 12]], dtype=int32)
    >>> qgemm(a, b, a_scale=0.5, b_scale=0.25, out_scale=1.0, out_zero_point=128)
    array([[130, 129],
           [133, 130]], dtype=uint8)
    """
    a = arguments.as_bytes("a", a, 2)
    m, k = a.shape
    inputs = [a]
    if isinstance(b, PackedIntegers):
        if b_zero_point is not None:
            raise ArgumentError(
                f"b_zero_point: expected None for packed integers, got {arguments.shown(b_zero_point)}"
            )
    else:
        b = arguments.as_bytes("b", b, 2)
        inputs.append(b)
        b_zero_point = 0 if b_zero_point is None else b_zero_point
    if b.shape[0] != k:
        raise ShapeError(f"b: expected k = {k} rows, got {b.shape[0]}")
    n = b.shape[1]
    a_zero = zero_points("a_zero_point", a_zero_point, a.dtype, m, "rows of a")
    scales = {"a_scale": a_scale, "b_scale": b_scale}
    bias, after = finish(n, "columns of b", scales, out_scale, out_zero_point, out_dtype, bias)
    if out is None:
        y = arguments.empty((m, n), after.dtype)
    else:
        y = arguments.checked_output(out, (m, n), inputs, dtype=after.dtype)
    packed = b._packed if isinstance(b, PackedIntegers) else _packed(b, "b_zero_point", b_zero_point)
    # The kernel writes whole vectors of a row.
    direct = n == 1 or y.size == 0 or y.strides[1] == y.itemsize
    target = y if direct else arguments.empty((m, n), after.dtype)
    _core.qgemm(a, a_zero, packed, target, bias, after.scale, after.shift, after.low, after.high, after.zero)
    if not direct:
        y[...] = target
    return y


def _packed(b: NDArray[Any], name: str, zero_point: Any) -> _core.PackedIntegers:
    return _core.PackedIntegers(b, zero_points(name, zero_point, b.dtype, b.shape[1], "columns of b"))
