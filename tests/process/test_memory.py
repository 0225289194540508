"""Memory: none is lost over thousands of shapes; wherever it runs out, a MemoryError is all that happens."""

from __future__ import annotations

from collections.abc import Callable

Script = Callable[..., str]

RESIDENT = """
def resident():
    '''Return the MiB of memory that this process has.'''
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
fastconv.set_num_threads(2)
"""


def test_10_000_shapes_of_a_model(script: Script) -> None:
    """Programs of the last few shapes are kept; growth is over once the largest was there."""
    script(
        RESIDENT
        + """
b = GraphBuilder("net", {"w": np.ones((8, 3, 3, 3), np.float32)})
x = b.input("x", ("batch", 3, None, None))
b.output(b.add("Relu", b.add("Conv", x, "w")), "y", ("batch", 8, None, None))
model = Model(b.build())
image = np.ones((4, 3, 64, 64), np.float32)
shapes = [(n, h, w) for n in (4, 1, 2, 3) for h in range(64, 14, -1) for w in range(64, 14, -1)]
assert len(shapes) == len(set(shapes)) == 10_000
for i, (n, h, w) in enumerate(shapes):
    y = model(image[:n, :, :h, :w])
    assert y.shape == (n, 8, h - 2, w - 2) and round(float(y[0, 0, 0, 0])) == 27  # Winograd rounds
    if i == 500:
        before = resident()
after = resident()
assert after - before < 6, (before, after)
"""
    )


def test_10_000_shapes_of_conv2d(script: Script) -> None:
    script(
        RESIDENT
        + """
w = {k: np.ones((8, 3, k, k), np.float32) for k in (1, 3)}
conv = fastconv.Conv2d(w[3])
image = np.ones((4, 3, 64, 64), np.float32)
shapes = [(k, n, h, w) for n in (4, 1) for h in range(64, 14, -1) for w in range(64, 14, -1) for k in (1, 3)]
assert len(shapes) == 10_000
for i, (k, n, height, width) in enumerate(shapes):
    x = image[:n, :, :height, :width]
    assert fastconv.conv2d(x, w[k])[0, 0, 0, 0] == 3 * k * k
    assert conv(x)[0, 0, 0, 0] == 27
    if i == 500:
        before = resident()
after = resident()
assert after - before < 6, (before, after)
"""
    )


# Makes the first allocation of a piece of work fail, then the second, until it needs no more than were made.
EACH_IN_TURN = """
fastconv.set_num_threads(THREADS)

def fail_each(work, prepare=lambda: None):
    '''Return how many allocations there were, and how many of their failures the caller was told.'''
    told = 0
    for n in itertools.count(1):
        argument = prepare()
        _core.fail_allocation(n)
        try:
            work(argument)
        except MemoryError:
            told += 1
        finally:
            left = _core.fail_allocation(0)
        if left > 0:
            return n - 1, told
"""


def test_every_allocation_fails_once(script: Script) -> None:
    """Loading, planning and running: the error is a MemoryError, and the same objects work after it."""
    script(
        EACH_IN_TURN.replace("THREADS", "2")
        + """
def small(size):
    weights = {"w": np.ones((16, 3, 3, 3), np.float32), "fc": np.ones((16, 5), np.float32)}
    b = GraphBuilder("net", weights)
    x = b.add("Relu", b.add("Conv", b.input("x", ("batch", 3, size, size)), "w", strides=[2, 2]))
    x = b.add("Flatten", b.add("GlobalAveragePool", b.add("MaxPool", x, kernel_shape=[2, 2])))
    b.output(b.add("MatMul", x, "fc"), "y", ("batch", 5))
    return b.build()

x, fixed, open_sized = np.ones((1, 3, 16, 16), np.float32), small(16), small(None)
expected = Model(fixed)(x)
made, told = fail_each(lambda _: Model(fixed)(x))
assert made > 20 and told > 0.9 * made, (made, told)

models = []
def some_model():
    models.append(Model(open_sized))
    return models[-1]
made, told = fail_each(lambda model: model(x), some_model)
assert made > 20 and told > 0.9 * made, (made, told)
assert all(np.array_equal(model(x), expected) for model in models)  # interrupted while planning

model = models[0]
made, told = fail_each(lambda _: model(x))
assert made == 0  # what the second run needs is there
assert np.array_equal(model(x), expected)
"""
    )


def test_every_allocation_of_a_function_fails_once(script: Script) -> None:
    script(
        EACH_IN_TURN.replace("THREADS", "2")
        + """
x, w = INPUTS[1], rng.standard_normal((24, 3, 3, 3), dtype=np.float32)
x8, w8 = x.astype(np.uint8), (100 * w).astype(np.int8)
a = rng.standard_normal((90, 90), dtype=np.float32)
calls = [
    lambda _=None: fastconv.conv2d(x, w, np.ones(24, np.float32), padding=1),
    lambda _=None: fastconv.conv2d(x, w, algorithm="im2col"),
    lambda _=None: fastconv.conv_transpose2d(x, w.reshape(3, 24, 3, 3), stride=2),
    lambda _=None: fastconv.Conv2d(w, padding=1, layout="NHWC")(x.transpose(0, 2, 3, 1)),
    lambda _=None: fastconv.qconv2d(x8, w8, padding=1, x_scale=0.5, w_scale=0.5, out_scale=1e3),
    lambda _=None: fastconv.QConv2d(w8, x_dtype="int8")(x8.view(np.int8)),
    lambda _=None: fastconv.gemm(a.T, a.T, out=np.empty((90, 180), np.float32)[:, ::2]),
    lambda _=None: fastconv.interpolate(x.transpose(0, 3, 1, 2), scale_factor=2, mode="bilinear"),
    lambda _=None: fastconv.max_pool2d(x, 3),
]
total = 0
for call in calls:
    expected = call()
    made, told = fail_each(call)
    total += made
    assert told >= 0.9 * made, (made, told)
    assert np.array_equal(call(), expected)
assert total > 50, total
"""
    )


def test_a_workers_exception_reaches_the_caller(script: Script) -> None:
    """Parts of a batch run on workers too, and their operators want memory: a worker's first product."""
    script(
        EACH_IN_TURN.replace("THREADS", "2")
        + """
b = GraphBuilder("net", {"w": np.ones((32, 3, 3, 3), np.float32)})
x = b.add("Relu", b.add("Conv", b.input("x", ("batch", 3, 96, 96)), "w"))
x = b.add("Reshape", x, b.constant("shape", np.array([0, 32, -1])))
x = b.add("MatMul", x, b.constant("m", np.ones((94 * 94, 64), np.float32)))
b.output(x, "y", ("batch", 32, 64))
small = b.build()
batch = np.ones((16, 3, 96, 96), np.float32)
expected = Model(small)(batch)
def fresh():
    model = Model(small)
    model(batch[:1])
    return model
total, told = fail_each(lambda model: model(batch), fresh)
assert told > 0.9 * total
assert np.array_equal(fresh()(batch), expected)
"""
    )
