"""Models, Conv2d objects and functions called by many Python threads: the bits of one thread."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Script = Callable[..., str]

CALLERS = """
fastconv.set_num_threads(2)

def all_at_once(work, count=8):
    start, wrong = threading.Barrier(count), []
    def caller(i):
        try:
            start.wait()
            if not work(i):
                wrong.append(i)
        except BaseException as error:
            wrong.append(error)
    threads = [threading.Thread(target=caller, args=(i,)) for i in range(count)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert not wrong, wrong
"""

# Another thread sets the number of threads all the while.
RESTLESS = """
stop = threading.Event()
def restless():
    for n in itertools.cycle([1, 2, 3, 5]):
        fastconv.set_num_threads(n)
        if stop.wait(0.0005):
            return
disturber = threading.Thread(target=restless)
"""


@pytest.mark.parametrize("disturb", [False, True], ids=["", "set_num_threads"])
def test_one_model(script: Script, disturb: bool) -> None:
    """The first calls race to plan; each thread takes the inputs in another order."""
    script(
        CALLERS
        + RESTLESS
        + f"""
if {disturb}: disturber.start()
for _ in range(5):
    model = Model(THE_GRAPH)
    def work(i):
        order = np.roll(np.arange(len(INPUTS)), i)
        return all(np.array_equal(model(INPUTS[k]), EXPECTED[k]) for _ in range(6) for k in order)
    all_at_once(work)
stop.set()
"""
    )


@pytest.mark.parametrize("disturb", [False, True], ids=["", "set_num_threads"])
def test_many_models(script: Script, disturb: bool) -> None:
    script(
        CALLERS
        + RESTLESS
        + f"""
if {disturb}: disturber.start()
all_at_once(lambda i: all(right(Model(THE_GRAPH)) for _ in range(5)))
stop.set()
"""
    )


def test_models_of_a_fixed_size_share_nothing_while_they_are_made(script: Script) -> None:
    """Their weights are packed, by the pool, in the constructor."""
    script(
        CALLERS
        + """
fixed = graph(size=40)
x = INPUTS[0][:, :, :1, :1] * np.ones((4, 3, 40, 40), np.float32)
y = Model(fixed)(x)
all_at_once(lambda i: all(np.array_equal(Model(fixed)(x), y) for _ in range(5)))
"""
    )


@pytest.mark.parametrize("disturb", [False, True], ids=["", "set_num_threads"])
def test_conv2d_and_gemm(script: Script, disturb: bool) -> None:
    """One Conv2d whose shapes change under it, functions without a plan, and other kernels."""
    script(
        CALLERS
        + RESTLESS
        + f"""
w = rng.standard_normal((24, 3, 3, 3), dtype=np.float32)
a, b = rng.standard_normal((40, 300), dtype=np.float32), rng.standard_normal((300, 50), dtype=np.float32)
def compute(conv, x):
    y = conv(x)
    return [y, fastconv.conv2d(x, w, padding=1), fastconv.gemm(a, b), fastconv.softmax(y, 1),
            fastconv.max_pool2d(y, 2), fastconv.interpolate(y, size=(20, 30), mode="bilinear")]
with fastconv.threads(1):
    expected = [compute(fastconv.Conv2d(w, padding=1, activation="silu"), x) for x in INPUTS]
if {disturb}: disturber.start()
conv = fastconv.Conv2d(w, padding=1, activation="silu")
def work(i):
    for k in np.roll(np.arange(len(INPUTS)), i).tolist() * 6:
        if not all(map(np.array_equal, compute(conv, INPUTS[k]), expected[k])):
            return False
    return True
all_at_once(work)
stop.set()
"""
    )


def test_looking_inside_while_others_plan(script: Script) -> None:
    """explain, layers and memory walk through what a plan of another thread's adds to."""
    script(
        CALLERS
        + """
model = Model(THE_GRAPH)
model(INPUTS[0])
def work(i):
    for n in range(12):
        if i % 2:
            model(np.ones((1, 3, 16 + n, 16 + i), np.float32))
        else:
            model.explain(), model.layers, model.memory(), model.planned_shapes, repr(model)
    return True
all_at_once(work)
assert right(model)
"""
    )


def test_any_number_of_threads_for_a_product(script: Script) -> None:
    """A cut for 5 threads once had 6 parts, and scratch for 5."""
    script(
        """
shapes = [(40, 300, 50), (5, 64, 200), (130, 700, 33), (64, 64, 64), (300, 20, 500)]
pairs = [(rng.standard_normal((m, k), dtype=np.float32), rng.standard_normal((k, n), dtype=np.float32))
         for m, k, n in shapes]
with fastconv.threads(1):
    expected = [fastconv.gemm(a, b) for a, b in pairs]
for n in range(2, 14):
    with fastconv.threads(n):
        for _ in range(20):
            for (a, b), y in zip(pairs, expected):
                assert np.array_equal(fastconv.gemm(a, b), y), (n, a.shape, b.shape)
"""
    )
