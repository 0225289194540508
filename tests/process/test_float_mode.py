"""The caller's floating-point mode: found again after every call, and without a say in the results."""

from __future__ import annotations

import platform
from collections.abc import Callable

import pytest

Script = Callable[..., str]

# MXCSR by way of the C library's fegetenv and fesetenv, which keep it in the last word of fenv_t.
MODE = """
import ctypes, ctypes.util
libm = ctypes.CDLL(ctypes.util.find_library("m"))

def mxcsr(value=None):
    env = (ctypes.c_uint32 * 8)()
    libm.fegetenv(env)
    before = env[7]
    if value is not None:
        env[7] = value
        libm.fesetenv(env)
    return before

DEFAULT, FLUSH, UPWARD = 0x1f80, 0x1f80 | 0x8040, 0x1f80 | 0x4000  # flush: FTZ and DAZ
mxcsr(FLUSH)
assert mxcsr() & ~0x3f == FLUSH and np.float32(1e-39) * np.float32(1) == 0
mxcsr(DEFAULT)
assert np.float32(1e-39) * np.float32(1) != 0

w = rng.standard_normal((32, 16, 3, 3), dtype=np.float32)
x = rng.standard_normal((2, 16, 30, 30), dtype=np.float32)
x *= np.float32(1e-38)  # denormal sums and products
a = rng.standard_normal((100, 100), dtype=np.float32)
wide = fastconv.Conv2d(w, padding=1)
network = Model(THE_GRAPH)
CALLS = {
    "conv2d": lambda: fastconv.conv2d(x, w),
    "winograd": lambda: fastconv.Conv2d(w, padding=1, algorithm="winograd_f4")(x),
    "Conv2d": lambda: wide(x),
    "depthwise": lambda: fastconv.conv2d(x, w[:16, :1], groups=16),
    "conv_transpose2d": lambda: fastconv.conv_transpose2d(x, w.reshape(16, 32, 3, 3)),
    "gemm": lambda: fastconv.gemm(a * np.float32(1e-20), a * np.float32(1e-20)),
    "softmax": lambda: fastconv.softmax(100 * x),
    "silu": lambda: fastconv.silu(x),
    "pool": lambda: fastconv.avg_pool2d(x, 3),
    "interpolate": lambda: fastconv.interpolate(x, scale_factor=2, mode="bilinear"),
    "batch_norm": lambda: fastconv.batch_norm(x, np.ones(16, np.float32), np.ones(16, np.float32)),
    "model": lambda: network(INPUTS[1] * np.float32(1e-36)),
    "load": lambda: Model(THE_GRAPH)(INPUTS[0]),
}
"""

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads a register of x86")


@x86
@pytest.mark.parametrize("threads", [1, 2])
def test_mode(script: Script, threads: int) -> None:
    """In each mode the register is the same after every call, and so are the results.

    Workers start while the mode is another: they must not inherit it.
    """
    script(
        MODE
        + f"""
if {threads} == 2:
    mxcsr(FLUSH)
    fastconv.set_num_threads(2)
    fastconv.gemm(a, a)
    mxcsr(DEFAULT)
with fastconv.threads(1):
    expected = {{name: call() for name, call in CALLS.items()}}
denormals = [name for name, y in expected.items() if ((np.abs(y) < 1.1e-38) & (y != 0)).any()]
assert {{"conv2d", "depthwise", "gemm", "silu", "pool"}} <= set(denormals), denormals
fastconv.set_num_threads({threads})
x_bits = x.view(np.uint32).copy()
for mode in (DEFAULT, FLUSH, UPWARD):
    for name, call in CALLS.items():
        if mode != DEFAULT and name in ("gemm", "model", "softmax"):
            continue  # their arguments are numpy's arithmetic, in the caller's mode
        mxcsr(mode)
        y = call()
        after = mxcsr(DEFAULT)
        assert after & ~0x3f == mode, (name, hex(mode), hex(after))
        assert np.array_equal(y.view(np.uint32), expected[name].view(np.uint32)), (name, hex(mode))
"""
    )


@x86
def test_sticky_flags_are_left_alone(script: Script) -> None:
    """What a kernel divides, overflows or rounds is not seen in the caller's flags."""
    script(
        MODE
        + """
big = np.full((8, 8), 3e38, np.float32)
mxcsr(DEFAULT)
y = np.empty((8, 8), np.float32)
_core.gemm(big, big, None, y, 1.0, 0.0, None, "none", 0.0, 0.0)
assert mxcsr() == DEFAULT, hex(mxcsr())
assert np.isinf(y).all()
"""
    )
