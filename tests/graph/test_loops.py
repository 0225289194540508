"""Loop and Scan: against ONNX Runtime, and against the same loop in numpy."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import FastconvError, MemoryLimitError, ModelError, ShapeError, UnsupportedOpError
from fastconv.graph import loop
from fastconv.graph.staged import MAX_BODIES, Staged
from fastconv.testing import reference

Array = np.ndarray[Any, Any]
Check = Callable[..., list[Array]]

X = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def parsed(onnx: Any) -> Callable[..., Any]:
    """Return a function that makes a model of the text of a graph."""
    return lambda text, opset=17: onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> {text}'
    )


@pytest.fixture
def check(parsed: Any, runtime: Any, tmp_path: Path) -> Check:
    """Return a function that compares a graph with ONNX Runtime and with what is expected.

    As it is loaded, without passes, and compiled to a file; twice, for what is kept of the first run.
    """

    def check(text: str, feeds: Mapping[str, Array], *expected: Array, opset: int = 17) -> list[Array]:
        model = parsed(text, opset)
        theirs = runtime(model, feeds)
        loaded = fastconv.load(model)
        loaded.save(tmp_path / "net.fcm", packed=True)
        for ours in (loaded, fastconv.load(model, passes="none"), fastconv.load(tmp_path / "net.fcm")):
            for _ in range(2):
                got = ours.run(None, feeds)
                for mine, other, exact in zip(got, theirs, expected or theirs, strict=True):
                    assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
                    np.testing.assert_allclose(mine, other, 1e-6, 1e-6)
                    np.testing.assert_allclose(mine, exact, 1e-6, 1e-6)
        return got

    return check


def counted(body: str, ends: str = "(float[2,3] x) => (float[2,3] y)", **inputs: str) -> str:
    """A graph with one loop of three rounds, or of as many as an input says."""
    trips = inputs.get("trips", "n")
    constants = "<int64 n = {3}, bool c = {1}>"
    return f"g {ends} {constants} {{ {inputs.get('outputs', 'y')} = Loop ({trips}, c, x) <body = {body}> }}"


DOUBLES = "b (int64 i, bool p, float[2,3] v) => (bool q, float[2,3] w) { q = Identity(p) w = Add(v, v) }"


@pytest.mark.ort
def test_a_number_of_rounds(check: Check) -> None:
    check(counted(DOUBLES), {"x": X}, 8 * X)
    ends = "(float[2,3] x, int64 m) => (float[2,3] y)"
    for n in (0, 1, 5):
        check(counted(DOUBLES, ends, trips="m"), {"x": X, "m": np.array(n)}, 2.0**n * X)


@pytest.mark.ort
def test_a_condition(check: Check) -> None:
    """A while loop: no number of rounds, and it ends when the data say so."""
    text = """g (float[2,3] x, bool c) => (float[2,3] y, int64 rounds) <int64 zero = {0}> {
        y, rounds = Loop ( , c, x, zero) <body = b (int64 i, bool p, float[2,3] v, int64 n)
            => (bool q, float[2,3] w, int64 m) <float limit = {100}, int64 one = {1}> {
                w = Add(v, v) m = Add(n, one)
                most = ReduceMax <keepdims = 0> (w) q = Less(most, limit)
        }> }"""
    for x in (X, 10 * X + 5, X - 3):
        y, n = np.array(x), 0
        while n == 0 or (y.max() < 100 and n < 10):
            y, n = y + y, n + 1
        if x.max() > 0:
            check(text, {"x": x, "c": np.array(True)}, y, np.array(n))
        check(text, {"x": x, "c": np.array(False)}, x, np.array(0))


@pytest.mark.ort
@pytest.mark.parametrize("trips", ["n", "m"])
def test_what_each_round_collects(trips: str, check: Check) -> None:
    """With outputs of its own, the round's number, and an outer value; unrolled, and between two programs."""
    body = """b (int64 i, bool p, float[2,3] v) => (bool q, float[2,3] w, float[3] o, int64 j)
        <int64[1] z = {0}> { q = Identity(p) w0 = Add(v, v) w = Add(w0, r)
        o = ReduceSum <keepdims = 0> (w, z) j = Identity(i) }"""
    text = f"""g (float[2,3] x, int64 m) => (float[2,3] s, float[N,3] o, int64[N] k)
        <int64 n = {{3}}, bool c = {{1}}>
        {{ r = Sigmoid(x)  y, o, k = Loop ({trips}, c, x) <body = {body}> s = Relu(y) }}"""
    for m in {"n": (3,), "m": (0, 1, 4)}[trips]:
        y, rows = X.astype(np.float64), []
        for _ in range(m):
            y = 2 * y + 1 / (1 + np.exp(-X.astype(np.float64)))
            rows.append(y.sum(0))
        o = np.array(rows).reshape(m, 3)
        check(text, {"x": X, "m": np.array(m)}, np.maximum(y, 0), o, np.arange(m))


@pytest.mark.ort
def test_a_value_that_grows(check: Check) -> None:
    """Each round has another shape, and so another program; what follows depends on how many there were."""
    text = """g (float[2,3] x, int64 m) => (float[K,3] y, int64[2] s) <bool c = {1}, int64[1] z = {0}> {
        y, last = Loop (m, c, x, x) <body = b (int64 i, bool p, float[K,3] v, float[2,3] u)
            => (bool q, float[L,3] w, float[2,3] t)
            { q = Identity(p) t = Add(u, u) w = Concat <axis = 0> (v, t) }>
        s = Shape(y) }"""
    for m in (0, 1, 6):
        y = np.concatenate([2.0**n * X for n in range(m + 1)])
        check(text, {"x": X, "m": np.array(m)}, y, np.array(y.shape))


@pytest.mark.ort
def test_loops_and_branches_within_each_other(check: Check) -> None:
    text = """g (float[2,3] x, int64 m) => (float[2,3] y) <bool c = {1}, float half = {0.5}> {
        y = Loop (m, c, x) <body = outer (int64 i, bool p, float[2,3] v) => (bool q, float[2,3] w) {
            q = Identity(p)
            u = Loop (i, c, v) <body = inner (int64 j, bool r, float[2,3] a) => (bool s, float[2,3] b)
                { s = Identity(r) d = Mul(a, half) b = Add(d, x) }>
            total = ReduceSum <keepdims = 0> (u) positive = Greater(total, half)
            w = If (positive) <
                then_branch = yes () => (float[2,3] t) { t = Sub(u, x) },
                else_branch = no () => (float[2,3] e) {
                    e = Loop (i, c, u) <body = again (int64 k, bool f, float[2,3] l) => (bool h, float[2,3] o)
                        { h = Identity(f) o = Add(l, half) }> }>
        }> }"""
    for m in (0, 1, 5):
        y = X.copy()
        for i in range(m):
            for _ in range(i):
                y = y * np.float32(0.5) + X
            y = y - X if y.sum() > 0.5 else y + np.float32(0.5 * i)
        check(text, {"x": X, "m": np.array(m)}, y)


@pytest.mark.ort
def test_the_round_as_a_position(check: Check) -> None:
    """A row of an outer value for each round, by Gather and by Slice, whose program needs the number."""
    text = """g (float[9,3] x, float[3] s) => (float[9,3] y, float[3] t)
        <int64 n = {9}, bool c = {1}, int64[1] z = {0}, int64[1] one = {1}, float a = {0.5}> {
        r = Relu(x)
        t, y = Loop (n, c, s) <body = b (int64 i, bool p, float[3] v) => (bool q, float[3] w, float[3] o) {
            q = Identity(p) row = Gather <axis = 0> (r, i)
            from = Unsqueeze(i, z) to = Add(from, one) part = Slice(r, from, to, z)
            same = Squeeze(part, z) both = Add(row, same) half = Mul(v, a) w = Add(half, both) o = Neg(w)
        }> }"""
    x = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    state, rows = np.ones(3), []
    for row in np.maximum(x, 0).astype(np.float64):
        state = state / 2 + 2 * row
        rows.append(-state)
    check(text, {"x": x, "s": np.ones(3, np.float32)}, np.array(rows), state)


@pytest.mark.ort
def test_convolutions_in_a_loop(check: Check, rng: np.random.Generator) -> None:
    """Weights of the graph around, and images that shrink: packed once for all sizes."""
    w = (rng.standard_normal((3, 3, 3, 3)) / 5).astype(np.float32)
    listed = ", ".join(map(str, w.reshape(-1)))
    text = f"""g (float[1,3,12,12] x, int64 m) => (float[1,3,H,W] y)
        <bool c = {{1}}, float[3,3,3,3] w = {{{listed}}}> {{
        y = Loop (m, c, x) <body = b (int64 i, bool p, float[1,3,H,W] v) => (bool q, float[1,3,K,L] u)
            {{ q = Identity(p) a = Conv(v, w) u = Relu(a) }}> }}"""
    x = rng.standard_normal((1, 3, 12, 12)).astype(np.float32)
    for m in (1, 5):
        y = x.astype(np.float64)
        for _ in range(m):
            y = np.maximum(reference.conv(y, w), 0)
        check(text, {"x": x, "m": np.array(m)}, y)


@pytest.mark.ort
@pytest.mark.parametrize("backwards", [0, 1])
def test_scan(backwards: int, check: Check, rng: np.random.Generator) -> None:
    text = f"""g (float[3] s, float[2,5,3] x, float[5,1] z) => (float[3] e, float[3,5] y) {{
        k = Relu(z)
        e, y = Scan <num_scan_inputs = 2, scan_input_axes = [1, -2], scan_output_axes = [-1],
            scan_input_directions = [{backwards}, 0], scan_output_directions = [{backwards}],
            body = b (float[3] v, float[2,3] r, float[1] f) => (float[3] w, float[3] o) <int64[1] a = {{0}}>
            {{ t = ReduceSum <keepdims = 0> (r, a) u = Mul(t, f) w = Add(v, u) o = Add(w, s) }}> (s, x, k)
        }}"""
    s, x, z = (rng.standard_normal(shape).astype(np.float32) for shape in ((3,), (2, 5, 3), (5, 1)))
    state, rows = s.astype(np.float64), []
    for n in range(5):
        state = state + x[:, 4 - n if backwards else n].sum(0) * max(z[n, 0], 0)
        rows.append(state + s)
    y = np.stack(rows[::-1] if backwards else rows, -1)
    check(text, {"s": s, "x": x, "z": z}, state, y)


@pytest.mark.ort
def test_scalars_stay_scalars(check: Check) -> None:
    """Those that are inputs of the model, too: between two programs they are no vectors of one."""
    text = """g (float s, float[3] x, int64 m) => (float e, float[3] y, float t) <bool c = {1}> {
        e, y = Scan <num_scan_inputs = 1, body = b (float v, float r) => (float w, float o)
            { w = Add(v, r) o = Neg(w) }> (s, x)
        t = Loop (m, c, s) <body = a (int64 i, bool p, float v) => (bool q, float w)
            { q = Identity(p) w = Add(v, v) }> }"""
    feeds = {"s": np.array(1, np.float32), "x": np.float32([1, 2, 3]), "m": np.array(3)}
    check(text, feeds, np.array(7.0), np.array([-2.0, -4.0, -7.0]), np.array(8.0))


@pytest.mark.ort
def test_types_other_than_f32(check: Check) -> None:
    text = """g (float16[4] x, int64 m) => (float16[4] y, int64[K] k) <bool c = {1}> {
        y, k = Loop (m, c, x) <body = b (int64 i, bool p, float16[4] v) => (bool q, float16[4] w, int64 o)
            { q = Identity(p) w = Add(v, v) o = Mul(i, i) }> }"""
    x = np.array([0.5, 1, -2, 3], np.float16)
    check(text, {"x": x, "m": np.array(4)}, 16 * x, np.arange(4) ** 2)


def test_few_known_rounds_are_written_out(parsed: Any) -> None:
    """One program then, in which things are fused; without the pass, or with many rounds, there are more."""
    model = fastconv.load(parsed(counted(DOUBLES)))
    assert [node.op for node in model._session.graph.nodes] == ["Add"] * 3
    np.testing.assert_array_equal(model(X), 8 * X)
    many = parsed(counted(DOUBLES).replace("{3}", "{300}"))
    assert [node.op for node in fastconv.load(many)._session.graph.nodes] == ["Loop"]
    kept = fastconv.load(parsed(counted(DOUBLES)), passes="none")
    kept(X)
    (plan,) = kept._session.programs.values()
    assert isinstance(plan, Staged)
    assert [rounds for _, rounds in plan.parts] == [3, 0]
    assert "run for 3 rounds of a loop" in kept.explain()
    (add,) = (layer for layer in fastconv.count(kept).layers if layer.name.startswith("Add"))
    assert add.flops == 3 * X.size  # each round's
    found = fastconv.profile(kept, X, seconds=0.1)
    assert [layer.name for layer in found.layers] == [layer.name for layer in fastconv.count(kept).layers]


def test_programs_of_a_growing_loop_are_bounded(parsed: Any) -> None:
    text = """g (float[2,3] x, int64 m) => (float[K,3] y) <bool c = {1}> {
        y = Loop (m, c, x) <body = b (int64 i, bool p, float[K,3] v) => (bool q, float[L,3] w)
            { q = Identity(p) w = Concat <axis = 0> (v, x) }> }"""
    model = fastconv.load(parsed(text))
    for m in (MAX_BODIES + 10, 3):
        np.testing.assert_array_equal(model(X, np.array(m)), np.tile(X, (m + 1, 1)))
    (plan,) = model._session.programs.values()
    assert isinstance(plan, Staged)
    assert len(plan.bodies) == MAX_BODIES
    kept = model._session.plans.kept
    assert len(kept) == 1 + len(plan.bodies) + len(plan.seconds)
    kept._drop(model._session.programs, next(iter(model._session.programs)))
    assert len(kept) == 0  # the bodies go with their owner


ENDLESS = """g (float[2,3] x) => (float[2,3] y, float[K,2,3] o) <bool c = {1}> {
    y, o = Loop ( , c, x) <body = b (int64 i, bool p, float[2,3] v) => (bool q, float[2,3] w, float[2,3] t)
        { q = Identity(p) w = Add(v, x) t = Neg(w) }> }"""


def test_loops_without_end_are_refused(parsed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By how many rounds there are, in loops within each other too, and by what they collect."""
    with pytest.raises(MemoryLimitError, match=r"node '.*' .Loop.: expected at most max_bytes"):
        fastconv.load(parsed(ENDLESS), max_bytes=100_000)(X)
    monkeypatch.setattr(loop, "MAX_ROUNDS", 1000)
    with pytest.raises(ModelError, match=r"node '.*' .Loop.: expected at most 1000 rounds of all loops"):
        fastconv.load(parsed(ENDLESS))(X)
    nested = """g (float[2,3] x, int64 m) => (float[2,3] y) <bool c = {1}> {
        y = Loop (m, c, x) <body = outer (int64 i, bool p, float[2,3] v) => (bool q, float[2,3] w) {
            q = Identity(p)
            w = Loop (m, c, v) <body = inner (int64 j, bool r, float[2,3] a) => (bool s, float[2,3] b)
                { s = Identity(r) b = Add(a, x) }> }> }"""
    model = fastconv.load(parsed(nested))
    np.testing.assert_array_equal(model(X, np.array(30)), 901 * X)  # 30 and 900
    np.testing.assert_array_equal(model(X, np.array(30)), 901 * X)  # each run counts from 0
    with pytest.raises(ModelError, match="expected at most 1000 rounds"):
        model(X, np.array(40))


def test_ctrl_c_ends_a_loop(parsed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv.graph.loop.MAX_ROUNDS", 1 << 24)  # more than come before the signal
    text = ENDLESS.replace(", float[K,2,3] o)", ")").replace("y, o = ", "y = ")
    model = fastconv.load(parsed(text))
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    # A shell's job in the background ignores the signal, and Python leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            model(X)
    finally:
        signal.signal(signal.SIGINT, before)


def test_threads_share_a_model_with_a_loop(parsed: Any) -> None:
    ends = "(float[2,3] x, int64 m) => (float[2,3] y)"
    model = fastconv.load(parsed(counted(DOUBLES, ends, trips="m")))
    wrong = []

    def work(k: int) -> None:
        for n in range(k, k + 20):
            if not np.array_equal(model(X, np.array(n % 7)), 2.0 ** (n % 7) * X):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("b (int64 i) => (bool q) { q = Cast <to = 9> (i) }", ModelError, "inputs for the round"),
        ("b (int64 i, bool p, float v) => (bool q) { q = Identity(p) }", ModelError, "at least 2 outputs"),
        (DOUBLES.replace("v) =>", "v, float u) =>"), ModelError, "at least 3 outputs"),
        (
            DOUBLES.replace("Identity(p)", "Identity(v)"),
            ShapeError,
            "condition of the body: expected one bool",
        ),
        (DOUBLES.replace("Add(v, v)", "Add(v, none)"), ModelError, "'none'"),
    ],
)
def test_refused_loops(body: str, error: type[FastconvError], message: str, parsed: Any) -> None:
    with pytest.raises(error, match=message):
        fastconv.load(parsed(counted(body)))(X)


def test_refused_scans_and_branches(parsed: Any) -> None:
    scan = """g (float[3] s, float[2,3] x) => (float[3] e) { e = Scan <num_scan_inputs = %s,
        body = b (float[3] v, float[3] r) => (float[3] w) { w = Add(v, r) }> (s, x) }"""
    with pytest.raises(ModelError, match="num_scan_inputs: expected 1 to 2, got 3"):
        fastconv.load(parsed(scan % 3))(X[0], X)
    with pytest.raises(UnsupportedOpError, match="Scan of opset 9 or later, got one of 8"):
        fastconv.load(parsed(scan % 1, 8))(X[0], X)
    branch = """g (float[2,3] x, bool c) => (float[2,3] y) { y = If (c) <
        then_branch = a (float[2,3] i) => (float[2,3] t) { t = Neg(i) },
        else_branch = b () => (float[2,3] e) { e = Neg(x) }> }"""
    with pytest.raises(ModelError, match="expected a branch without inputs, got 1"):
        fastconv.load(parsed(branch)).run(None, {"x": X, "c": np.array(True)})


def test_a_branch_reads_what_an_identity_gives(parsed: Any) -> None:
    """The pass that removes identities renames what branches and bodies read, too."""
    text = """g (float[2,3] x, bool c) => (float[2,3] y) { same = Identity(x) y = If (c) <
        then_branch = a () => (float[2,3] t) { t = Relu(same) },
        else_branch = b () => (float[2,3] e) { e = Neg(same) }> }"""
    model = fastconv.load(parsed(text))
    for condition, expected in ((True, np.maximum(X, 0)), (False, -X)):
        np.testing.assert_array_equal(model(X, np.array(condition)), expected)
