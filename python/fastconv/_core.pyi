"""The typed contract of the compiled module; csrc/bindings has one file for each section."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
S32 = npt.NDArray[np.int32]
PlanView = tuple[Sequence[int], Sequence[int], np.dtype[Any]]  # shape, strides in elements, dtype
# Slot, offset in bytes, shape, strides in elements, dtype.
PlanOperand = tuple[int, int, Sequence[int], Sequence[int], np.dtype[Any]]
Pair = tuple[int, int] | list[int]
Quantization = tuple[float, int]  # a scale and a zero point
ScalePair = tuple[float, float]  # output, input: a fraction

__version__: str
MAX_THREADS: int

# bind_core.cpp
def initialize() -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def set_threads_variable(variable: ContextVar[int]) -> None: ...
def threads_of_shares(shares: int, microseconds: int) -> list[int]: ...
def cgroup_threads(root: str = "") -> int: ...
def start_share_trace() -> None: ...
def stop_share_trace() -> list[tuple[int, int, int, int]]: ...
def fail_allocation(n: int) -> int: ...
def cpu_info() -> dict[str, Any]: ...
def tiers() -> list[str]: ...
def active_tier() -> str: ...
def set_active_tier(name: str) -> None: ...
def set_extensions_active(used: bool) -> None: ...
def bounds_overlap(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool: ...

# bind_coding.cpp
CODE_BITS: int
STREAM_VALUES: int
MAX_SYMBOLS: int

def decode(coded: npt.NDArray[np.uint8], entries: int, gaps: int, out: npt.NDArray[Any]) -> None: ...

# bind_conv.cpp
class Conv:
    def __init__(
        self,
        w: F32,
        bias: F32 | None,
        *,
        spatial: int,
        stride: Sequence[int],
        padding_lo: Sequence[int],
        padding_hi: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        auto_pad: str,
        transposed: bool,
        output_padding: Sequence[int],
        act: str,
        alpha: float,
        beta: float,
        precision: str,
        algorithm: str,
        planar: bool = False,
        x_shape: Sequence[int] = (),
        once: bool = False,
        borrow: bool = False,
        stored: Mapping[str, F32] = ...,
        signs: tuple[float, float] | None = None,
    ) -> None: ...
    def out_shape(self, x_shape: Sequence[int]) -> tuple[int, ...]: ...
    def run(self, x: F32, y: F32, residual: F32 | None = None) -> None: ...
    def algorithm(self, x_shape: Sequence[int] | None = None) -> str: ...
    @property
    def packed_bytes(self) -> int: ...
    @property
    def packing(self) -> str: ...
    def packed(self) -> dict[str, list[F32]]: ...
    # Whether a step's x may be bf16, and its y, for an input of this shape.
    def reads_bf16(self, x_shape: Sequence[int]) -> bool: ...
    def stores_bf16(self, x_shape: Sequence[int]) -> bool: ...
    def explain(self, x_shape: Sequence[int] | None = None) -> dict[str, Any]: ...

def algorithms() -> list[str]: ...

# bind_integer_conv.cpp
class IntegerConv:
    def __init__(
        self,
        w: Array,
        bias: Array | None,
        *,
        spatial: int,
        stride: Sequence[int],
        padding_lo: Sequence[int],
        padding_hi: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        auto_pad: str,
        transposed: bool,
        output_padding: Sequence[int],
        w_zero: Array,
        x_signed: bool,
        x_zero: int | None,
        out: np.dtype[Any],
        scale: F32 | None,
        shift: F32 | None,
        low: float,
        high: float,
        zero: int,
        algorithm: str,
    ) -> None: ...
    def out_shape(self, x_shape: Sequence[int]) -> tuple[int, ...]: ...
    def run(self, x: Array, y: Array, x_zero: int | None = None) -> None: ...
    def algorithm(self, x_shape: Sequence[int] | None = None) -> str: ...
    def explain(self, x_shape: Sequence[int] | None = None) -> dict[str, Any]: ...
    @property
    def packed_bytes(self) -> int: ...

def integer_algorithms() -> list[str]: ...
def packing_id() -> str: ...

# bind_select.cpp
def top_k(x: F32, values: F32, indices: npt.NDArray[np.int64], largest: bool) -> None: ...
def cumulative_sum(x: F32, y: F32, exclusive: bool, reverse: bool) -> None: ...
def suppress(
    boxes: F32, scores: F32, most: int, overlap: float, least: float | None, centred: bool
) -> npt.NDArray[np.int64]: ...
def grid_sample(x: F32, grid: F32, y: F32, mode: str, padding: str, align_corners: bool) -> None: ...

# bind_recurrent.cpp
class Recurrent:
    def __init__(
        self,
        cell: str,
        r: F32,
        *,
        functions: Sequence[tuple[str, float, float]],
        clip: float = 0.0,
        reverse: bool = False,
        reset_after: bool = False,
        coupled: bool = False,
        hidden_bias: F32 | None = None,
        scales: F32 | None = None,
    ) -> None: ...
    def workspace(self, n: int) -> int: ...
    @property
    def packed_bytes(self) -> int: ...

# bind_gemm.cpp
def product(a: F32, b: F32) -> F32 | None: ...
def gemm(
    a: F32,
    b: F32,
    c: F32 | None,
    out: F32,
    alpha: float,
    beta: float,
    bias: F32 | None,
    act: str,
    act_alpha: float,
    act_beta: float,
    bf16: bool = False,
) -> None: ...
def gemm_f64(a: F64, b: F64, out: F64) -> None: ...

# bind_qgemm.cpp
class PackedIntegers:
    def __init__(self, b: Array, zero_point: S32) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def wide(self) -> bool: ...
    @property
    def ordered(self) -> bool: ...
    @property
    def vectors(self) -> int: ...
    @property
    def excess_vectors(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

def qgemm(
    a: Array,
    a_zero: S32,
    b: PackedIntegers,
    out: Array,
    bias: S32 | None,
    scale: F32 | None,
    shift: F32 | None,
    low: float,
    high: float,
    zero: int,
) -> None: ...
def multiply_taps(
    a: Array, a_row: Sequence[int], tap_offset: Sequence[int], b: Array, c_row: Sequence[int], out: S32
) -> None: ...

# bind_eltwise.cpp
def activate(x: F32, y: F32, act: str, alpha: float, beta: float) -> None: ...
def binary(op: str, a: F32, b: F32, y: F32, act: str, alpha: float, beta: float) -> None: ...
def prelu(x: F32, slope: F32, y: F32) -> None: ...

# bind_pool.cpp
def max_pool2d(
    x: F32, y: F32, kernel: Pair, stride: Pair, dilation: Pair, pad_lo: Pair, pad_hi: Pair
) -> None: ...
def avg_pool2d(
    x: F32, y: F32, kernel: Pair, stride: Pair, pad_lo: Pair, pad_hi: Pair, count_include_pad: bool
) -> None: ...
def pool_out_shape(
    ih: int,
    iw: int,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    pad_lo: Pair,
    pad_hi: Pair,
    ceil_mode: bool,
    auto_pad: str,
) -> tuple[int, int, tuple[int, int], tuple[int, int]]: ...

# bind_norm.cpp
def channel_affine(x: F32, scale: F32, shift: F32, y: F32, act: str, alpha: float, beta: float) -> None: ...
def lrn(x: F32, y: F32, size: int, alpha: float, beta: float, k: float) -> None: ...
def layer_norm(x: F32, scale: F32, shift: F32, y: F32, epsilon: float) -> None: ...
def softmax(x: F32, y: F32, axis: int) -> None: ...
def reduce(op: str, x: F32, y: F32) -> None: ...

# bind_layout.cpp
def resize2d(
    x: F32, y: F32, mode: str, coordinates: str, rounding: str, scale_h: ScalePair, scale_w: ScalePair
) -> None: ...
def copy(src: F32, dst: F32) -> None: ...
def fill(dst: F32, value: float) -> None: ...

# bind_program.cpp; the steps are in the file of the function that each calls
class PlannedConv:
    def __init__(
        self, conv: Conv, x: PlanView, residual: PlanView | None, y: PlanView, threads: int
    ) -> None: ...
    @property
    def workspace(self) -> int: ...
    @property
    def tile(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...
    @property
    def kept_weights(self) -> int: ...  # where those of zero are left out, else 0
    @property
    def kernel(self) -> list[int]: ...  # depth, height, width

class PlannedIntegerConv:
    def __init__(self, conv: IntegerConv, x: PlanView, y: PlanView, threads: int) -> None: ...
    @property
    def workspace(self) -> int: ...
    @property
    def tile(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...
    @property
    def kept_weights(self) -> int: ...  # where those of zero are left out, else 0
    @property
    def kernel(self) -> list[int]: ...  # depth, height, width

class ArenaPool:
    def __init__(self) -> None: ...
    @property
    def bytes(self) -> int: ...

class BatchProgram:
    def __init__(self, pool: ArenaPool, rest: Program, images: int, lanes: int) -> None: ...
    def add_part(self, program: Program, images: int) -> None: ...
    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None: ...
    def run_profiled(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> list[float]: ...

class Program:
    def __init__(
        self, pool: ArenaPool, arena: int, inputs: Sequence[int], outputs: Sequence[int]
    ) -> None: ...
    def add_constant(self, array: Array) -> int: ...
    def call(self, operands: Sequence[PlanOperand], function: Callable[..., None]) -> None: ...
    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None: ...
    def run_profiled(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> list[float]: ...
    def conv(
        self,
        x: PlanOperand,
        residual: PlanOperand | None,
        y: PlanOperand,
        conv: PlannedConv,
        workspace: PlanOperand,
    ) -> None: ...
    def integer_conv(
        self,
        x: PlanOperand,
        x_zero: PlanOperand | None,
        y: PlanOperand,
        conv: PlannedIntegerConv,
        workspace: PlanOperand,
    ) -> None: ...
    def gemm(
        self,
        a: PlanOperand,
        b: PlanOperand,
        c: PlanOperand | None,
        y: PlanOperand,
        alpha: float,
        beta: float,
        act: str,
        act_alpha: float,
        act_beta: float,
    ) -> None: ...
    def activate(self, x: PlanOperand, y: PlanOperand, act: str, alpha: float, beta: float) -> None: ...
    def binary(
        self,
        a: PlanOperand,
        b: PlanOperand,
        y: PlanOperand,
        op: str,
        act: str,
        alpha: float,
        beta: float,
    ) -> None: ...
    def compare(self, a: PlanOperand, b: PlanOperand, y: PlanOperand, op: str) -> None: ...
    def logic(self, a: PlanOperand, b: PlanOperand, y: PlanOperand, op: str) -> None: ...
    def choose(self, condition: PlanOperand, a: PlanOperand, b: PlanOperand, y: PlanOperand) -> None: ...
    def grid_sample(
        self,
        x: PlanOperand,
        grid: PlanOperand,
        y: PlanOperand,
        mode: str,
        padding: str,
        align_corners: bool,
    ) -> None: ...
    def top_k(self, x: PlanOperand, values: PlanOperand, indices: PlanOperand, largest: bool) -> None: ...
    def prelu(self, x: PlanOperand, slope: PlanOperand, y: PlanOperand) -> None: ...
    def max_pool2d(
        self,
        x: PlanOperand,
        y: PlanOperand,
        kernel: Pair,
        stride: Pair,
        dilation: Pair,
        lo: Pair,
        hi: Pair,
    ) -> None: ...
    def avg_pool2d(
        self,
        x: PlanOperand,
        y: PlanOperand,
        kernel: Pair,
        stride: Pair,
        dilation: Pair,
        lo: Pair,
        hi: Pair,
        count_include_pad: bool,
    ) -> None: ...
    def channel_affine(
        self,
        x: PlanOperand,
        scale: PlanOperand,
        shift: PlanOperand,
        y: PlanOperand,
        act: str,
        alpha: float,
        beta: float,
    ) -> None: ...
    def lrn(self, x: PlanOperand, y: PlanOperand, size: int, alpha: float, beta: float, k: float) -> None: ...
    def layer_norm(
        self, x: PlanOperand, scale: PlanOperand, shift: PlanOperand, y: PlanOperand, epsilon: float
    ) -> None: ...
    def softmax(self, x: PlanOperand, y: PlanOperand, axis: int) -> None: ...
    def reduce(self, x: PlanOperand, y: PlanOperand, op: str) -> None: ...
    def resize2d(
        self,
        x: PlanOperand,
        y: PlanOperand,
        mode: str,
        coordinates: str,
        rounding: str,
        scale_h: ScalePair,
        scale_w: ScalePair,
    ) -> None: ...
    def recurrent(
        self,
        x: PlanOperand,
        initial_h: PlanOperand | None,
        initial_c: PlanOperand | None,
        peepholes: PlanOperand | None,
        lengths: PlanOperand | None,
        y: PlanOperand,
        layer: Recurrent,
        workspace: PlanOperand,
    ) -> None: ...
    def copy(self, x: PlanOperand, y: PlanOperand) -> None: ...
    def cast(self, x: PlanOperand, y: PlanOperand) -> None: ...
    def fill(self, y: PlanOperand, value: float) -> None: ...
    def quantize(self, x: PlanOperand, scale: PlanOperand, zero: PlanOperand, y: PlanOperand) -> None: ...
    def dequantize(
        self, x: PlanOperand, scale: PlanOperand, zero: PlanOperand | None, y: PlanOperand
    ) -> None: ...
    def dynamic_range(self, x: PlanOperand, y: PlanOperand) -> None: ...
    def lookup(self, x: PlanOperand, table: PlanOperand, y: PlanOperand) -> None: ...
    def quantized_binary(
        self,
        a: PlanOperand,
        b: PlanOperand,
        y: PlanOperand,
        op: str,
        from_a: Quantization,
        from_b: Quantization,
        to: Quantization,
    ) -> None: ...
    def quantized_avg_pool2d(
        self,
        x: PlanOperand,
        y: PlanOperand,
        kernel: Pair,
        stride: Pair,
        dilation: Pair,
        lo: Pair,
        hi: Pair,
        count_include_pad: bool,
        from_x: Quantization,
        to: Quantization,
    ) -> None: ...

# bind_roofline.cpp
def peak_instructions(tier: str) -> dict[str, str]: ...
def peak(tier: str, dtype: str, threads: int, seconds: float) -> list[float]: ...
def bandwidth(tier: str, op: str, bytes: int, threads: int, seconds: float) -> list[float]: ...

# bind_sweep.cpp
def stair_steps() -> list[tuple[str, str]]: ...
def stair_run(name: str, a: F32, b: F32, out: F32) -> None: ...
def gemm_blocked(a: F32, b: F32, out: F32, MC: int, KC: int, NC: int) -> None: ...
def gemm_blockings(K: int) -> dict[str, tuple[int, int, int]]: ...
def panel_widths(N: int) -> list[int]: ...
def register_tiles() -> list[tuple[int, int]]: ...
def tile_run(a: F32, b: F32, out: F32, repeats: int) -> None: ...

class PackedMatrix:
    def __init__(self, b: F32) -> None: ...
    def multiply(self, a: F32, out: F32) -> None: ...

class BlockedConv:
    def __init__(self, conv: Conv, x: F32, y: F32, sizes: Sequence[int] = ()) -> None: ...
    @property
    def blocks(self) -> list[tuple[str, int, int, int]]: ...
    def run(self) -> None: ...
