"""from_torch: what it takes, how its models look, and that modules stay as they were."""

from __future__ import annotations

import sys
import warnings
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv.errors import ArgumentError, DTypeError, MissingPackageError, ModelError, UnsupportedOpError

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = [pytest.mark.torch]


# ---------------------------------------------------------------- names and sizes


def test_the_batch_is_open_and_the_size_is_not(image: Any, assert_equal: Any) -> None:
    module = nn.Conv2d(8, 4, 3)
    model = fastconv.from_torch(module, image)
    assert model.inputs[0].shape == ("batch", 8, 12, 10)
    assert model.name == "Conv2d"
    assert_equal(model, module, image[:1])
    with pytest.raises(fastconv.ShapeError, match="expected 12 at axis 2, got 13"):
        model(np.zeros((1, 8, 13, 10), np.float32))


def test_the_size_is_open_where_asked(image: Any, assert_equal: Any, do: Any) -> None:
    module = do(lambda conv, x: F.interpolate(conv(x), scale_factor=2).mean((2, 3)), nn.Conv2d(8, 4, 3))
    model = fastconv.from_torch(module, image, dynamic_size=True)
    assert model.inputs[0].shape == ("batch", 8, "x_2", "x_3")
    for shape in ((1, 8, 9, 20), (3, 8, 33, 5)):
        assert_equal(model, module, torch.randn(shape))


def test_all_is_fixed_where_asked(image: Any) -> None:
    model = fastconv.from_torch(nn.Conv2d(8, 4, 3), image, dynamic_batch=False)
    assert model.inputs[0].shape == (2, 8, 12, 10)


def test_only_inputs_that_are_as_long_have_an_open_batch(image: Any, assert_equal: Any, do: Any) -> None:
    module = do(lambda x, y: x * y[0] + y[1])
    y = torch.randn(3, 10)
    model = fastconv.from_torch(module, (image, y))
    assert [info.shape for info in model.inputs] == [("batch", 8, 12, 10), (3, 10)]
    assert_equal(model, module, image, y)


Pair = namedtuple("Pair", ["mean", "highest"])


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: x + 1, ["output"]),
        (lambda x: (x + 1, x - 1), ["output_0", "output_1"]),
        (lambda x: OrderedDict(out=x + 1, aux=x - 1), ["out", "aux"]),
        (lambda x: {"a": x + 1, "b": {"c": x * 2, "d": [x, None, x - 1]}}, ["a", "b_c", "b_d_0", "b_d_2"]),
        (lambda x: Pair(x.mean((2, 3)), x.amax((2, 3))), ["mean", "highest"]),
        (lambda x: {"x": x + 1}, ["x_"]),  # taken by the input
    ],
)
def test_outputs_are_flattened_and_named(
    function: Any, names: list[str], image: Any, assert_equal: Any, do: Any
) -> None:
    module = do(function)
    model = fastconv.from_torch(module, image)
    assert [info.name for info in model.outputs] == names
    assert_equal(model, module, image)


def test_an_input_with_the_name_of_a_parameter(image: Any, assert_equal: Any) -> None:
    class Scaled(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([2.0, 3.0]))

        def forward(self, x: Any, scale: Any) -> Any:
            return x * self.scale[0] + scale * self.scale[1]

    module = Scaled()
    model = fastconv.from_torch(module, (image, image + 1))
    assert [info.name for info in model.inputs] == ["x", "scale_"]
    assert_equal(model, module, image, image + 1)


def test_arguments_with_defaults_keep_them(image: Any, assert_equal: Any) -> None:
    class Defaults(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any, scale: float = 2.0, negate: bool = True, mask: Any = None) -> Any:
            return (-x if negate else x) * scale if mask is None else mask

    model = fastconv.from_torch(Defaults(), image)
    assert [info.name for info in model.inputs] == ["x"]
    assert_equal(model, Defaults(), image)


# ---------------------------------------------------------------- examples


def test_arrays_are_taken_in_the_modules_type(assert_equal: Any) -> None:
    module = nn.Conv2d(3, 4, 3)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8))  # float64
    x.flags.writeable = False
    for example in (x, x.astype(np.float16), x.astype(">f4"), (x[:, :, ::-1],)):
        assert_equal(fastconv.from_torch(module, example), module, torch.from_numpy(x.astype(np.float32)))


@pytest.mark.parametrize(
    ("example", "error", "message"),
    [
        ((), ArgumentError, "example: expected a tensor, an array or a tuple of them, got an empty tuple"),
        ([1, 2], DTypeError, "example: expected a tensor, an array or a tuple of them, got list"),
        (np.array(["a"]), DTypeError, "example: expected numbers, got an array of dtype <U1"),
        (
            np.zeros((1, 5, 8, 8), np.float32),
            ArgumentError,
            r"example: expected what Conv2d can be called with, got input \[1, 5, 8, 8\] of .*: .*channels",
        ),
    ],
)
def test_examples_that_do_not_fit(example: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastconv.from_torch(nn.Conv2d(3, 4, 3), example)


# ---------------------------------------------------------------- the module stays as it was


class Watched(nn.Sequential):  # type: ignore[misc, name-defined]
    """Notes how it is set, as modules do that merge weights for evaluation."""

    merged = False

    def train(self, mode: bool = True) -> Any:
        self.merged = not mode
        return super().train(mode)


def state(module: Any) -> Any:
    return (
        [part.training for part in module.modules()],
        {name: value.clone() for name, value in module.state_dict().items()},
        [set(vars(part)) for part in module.modules()],
        len(module._forward_hooks),
        [p.requires_grad for p in module.parameters()],
        module.merged,
        torch.backends.mha.get_fastpath_enabled(),
        torch.is_grad_enabled(),
        torch.get_rng_state(),
        torch._C._jit_onnx_log,
    )


def assert_state(module: Any, before: Any) -> None:
    after = state(module)
    for old, new in zip(before, after, strict=True):
        if isinstance(old, dict):
            assert all(torch.equal(old[name], new[name]) for name in old)
        elif isinstance(old, torch.Tensor):
            assert torch.equal(old, new)
        else:
            assert old == new


@pytest.mark.parametrize("training", [True, False])
def test_the_module_stays_as_it_was(training: bool, image: Any, assert_equal: Any) -> None:
    module = Watched(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.BatchNorm2d(8))
    module.train(training)
    module[1].eval()  # a frozen normalisation in a module that trains
    module[0].bias.requires_grad_(False)
    before = state(module)
    model = fastconv.from_torch(module, image)
    assert_state(module, before)
    assert_equal(model, module, image)  # and was exported for evaluation


def test_the_module_stays_as_it_was_after_errors(image: Any) -> None:
    module = Watched(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Threshold(0.1, 0.2))
    before = state(module.train())
    for example, error in ((image, ModelError), (image[:, :3], ArgumentError)):
        with pytest.raises(error, match="Watched"):
            fastconv.from_torch(module, example)
        assert_state(module, before)


def test_a_forward_of_the_instance_stays(image: Any, do: Any) -> None:
    module = do(lambda x: x + 1)
    module.forward = mine = lambda x: module.function(x) * 2
    model = fastconv.from_torch(module, image)
    assert module.forward is mine
    np.testing.assert_allclose(model(image.numpy()), 2 * image + 2, atol=1e-6)


# ---------------------------------------------------------------- wrapped modules


def test_wrapped_modules_are_unwrapped(image: Any, assert_equal: Any) -> None:
    module = nn.Conv2d(8, 4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile's imports
        compiled = torch.compile(module)
    for wrapped in (nn.DataParallel(module), compiled):
        model = fastconv.from_torch(wrapped, image)
        assert model.name == "Conv2d"
        assert_equal(model, module, image)


def test_a_traced_module(image: Any, assert_equal: Any) -> None:
    module = nn.Sequential(nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        traced = torch.jit.trace(module, image)
    assert_equal(fastconv.from_torch(traced, image), module, image)


def test_a_module_in_channels_last(image: Any, assert_equal: Any) -> None:
    module = nn.Sequential(nn.Conv2d(8, 4, 3), nn.ConvTranspose2d(4, 2, 3)).to(
        memory_format=torch.channels_last
    )
    example = image.to(memory_format=torch.channels_last)
    assert_equal(fastconv.from_torch(module, example), module, image)


def test_parameters_are_counted_as_the_modules(image: Any) -> None:
    module = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    nn.init.zeros_(module[0].bias)  # and those of the normalisations: equal, not the same
    nn.init.zeros_(module[3].bias)
    assert fastconv.from_torch(module, image).parameters == sum(p.numel() for p in module.parameters())
    shared = nn.Conv2d(8, 8, 1)
    assert fastconv.from_torch(nn.Sequential(shared, shared), image).parameters == 72


def test_layers_have_the_modules_names(image: Any) -> None:
    module = nn.Sequential(OrderedDict(stem=nn.Conv2d(8, 8, 1), norm=nn.BatchNorm2d(8)))
    (layer,) = fastconv.from_torch(module, image).layers
    assert layer.name == "/stem/Conv"


# ---------------------------------------------------------------- warnings


def test_doubts_that_do_not_matter_are_not_passed_on(image: Any, assert_equal: Any, do: Any) -> None:
    def checked(conv: Any, x: Any) -> Any:
        if x.shape[0] < 1 or x.shape[2] != 12:
            raise ValueError
        return conv(x).view(-1, 4 * int(x.shape[2]) * int(x.shape[3]))

    module = do(checked, nn.Conv2d(8, 4, 1))
    model = fastconv.from_torch(module, image)  # warnings are errors here
    assert_equal(model, module, image[:1])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2 if x.mean() > 0 else x / 2,
        lambda x: x * len([None for row in x]),
    ],
)
def test_doubts_that_matter_are_passed_on(function: Any, image: Any, do: Any) -> None:
    with pytest.warns(torch.jit.TracerWarning, match="might") as caught:
        fastconv.from_torch(do(function), image)
    assert {warning.filename for warning in caught} == {__file__}


def test_doubts_about_the_batch_matter_where_it_is_open(image: Any, assert_equal: Any, do: Any) -> None:
    module = do(lambda x: x.view(int(x.shape[0]) * 8, 120))
    assert_equal(fastconv.from_torch(module, image, dynamic_batch=False), module, image)
    with (
        pytest.warns(torch.jit.TracerWarning, match="Python integer"),
        pytest.raises(fastconv.ShapeError, match=r"node '/Reshape' .*\[16, 120\]"),
    ):
        fastconv.from_torch(module, image)


def test_doubts_about_the_size_matter_where_it_is_open(image: Any, do: Any) -> None:
    module = do(lambda x: F.pad(x, (0, int(x.shape[2]) % 5)))
    fastconv.from_torch(module, image)
    with pytest.warns(torch.jit.TracerWarning, match="Python integer"):
        fastconv.from_torch(module, image, dynamic_size=True)


def test_pools_that_the_exporter_lacks_are_for_one_size(image: Any) -> None:
    module = nn.AdaptiveAvgPool2d(7)
    fastconv.from_torch(module, image)
    with pytest.warns(torch.jit.TracerWarning, match="Python integer"):
        fastconv.from_torch(module, image, dynamic_size=True)


# ---------------------------------------------------------------- errors


def test_an_operator_that_the_exporter_lacks_is_named(
    image: Any, capfd: pytest.CaptureFixture[str], do: Any
) -> None:
    corners = {"align_corners": True, "antialias": True}  # together they have no operator in ONNX
    module = do(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", **corners))
    with pytest.raises(UnsupportedOpError, match=r"Do: expected .*'aten::_upsample_bilinear2d_aa' to ONNX"):
        fastconv.from_torch(module, image)
    assert capfd.readouterr() == ("", "")  # not the whole graph, as the exporter does


def test_an_operator_that_does_not_run(image: Any, do: Any) -> None:
    with pytest.raises(UnsupportedOpError, match=r"node '/Det' \(Det\)"):
        fastconv.from_torch(do(lambda x: torch.det(x[..., :10, :])), image)


def test_what_the_exporter_cannot_write(image: Any) -> None:
    with pytest.raises(ModelError, match=r"Threshold: expected .* non-zero threshold") as caught:
        fastconv.from_torch(nn.Threshold(0.1, 0.2), image)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: {"out": x, "count": 3}, "Do: expected tensors as results, got int for 'count'"),
        (lambda _: None, "Do: expected tensors as results, got none"),
    ],
)
def test_results_that_are_no_tensors(function: Any, message: str, image: Any, do: Any) -> None:
    with pytest.raises(ModelError, match=message):
        fastconv.from_torch(do(function), image)


@pytest.mark.parametrize("module", ["resnet50", nn.Conv2d, None, lambda x: x])
def test_what_is_no_module(module: Any, image: Any) -> None:
    with pytest.raises(DTypeError, match=r"module: expected a torch\.nn\.Module, got"):
        fastconv.from_torch(module, image)


def test_options_are_those_of_models(image: Any) -> None:
    with pytest.raises(ArgumentError, match="precision: expected"):
        fastconv.from_torch(nn.Conv2d(8, 4, 1), image, precision="half")
    model = fastconv.from_torch(nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU()), image, passes="none")
    assert "/1/Relu" in model.explain().split()  # not fused


@pytest.mark.parametrize(("package", "extra"), [("torch", "torch"), ("onnx", "onnx")])
def test_missing_packages(package: str, extra: str, monkeypatch: pytest.MonkeyPatch, image: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"pip install {extra}"):
        fastconv.from_torch(nn.Conv2d(8, 4, 1), image)


REFUSED: dict[str, tuple[Any, dict[str, bool], type[Exception], str]] = {
    "instances": (
        lambda: nn.InstanceNorm2d(8, track_running_stats=True), {}, ModelError, "dynamic_batch=False",
    ),
    "pools of any size": (
        lambda: nn.AdaptiveAvgPool2d(2), {"dynamic_size": True}, ModelError, "dynamic_size=False",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_what_to_do(case: str, image: Any, assert_equal: Any) -> None:
    """And that helps."""
    make, options, error, advice = REFUSED[case]
    module = make().eval()
    with pytest.raises(error, match=rf"^{type(module).__name__}: .* it says: .*; give .*{advice}$"):
        fastconv.from_torch(module, image, **options)
    name = advice.split("=")[0]
    assert_equal(fastconv.from_torch(module, image, **{name: False}), module, image)


def test_a_refusal_of_weights_that_are_computed(image: Any, assert_equal: Any) -> None:
    module = nn.utils.parametrizations.orthogonal(nn.Linear(10, 10)).eval()
    with pytest.raises(UnsupportedOpError, match=r"give it plain weights: .*remove_parametrizations\(part"):
        fastconv.from_torch(module, image)
    nn.utils.parametrize.remove_parametrizations(module, "weight")
    assert_equal(fastconv.from_torch(module, image), module, image)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: torch.fft.rfft(x).abs(), UnsupportedOpError),
        (lambda x: torch.stft(x.flatten(1), 8, window=torch.ones(8), return_complex=True).abs(), ModelError),
        (lambda x: (x * 7) // 3, ModelError),
    ],
    ids=["fft", "stft", "another result"],
)
def test_what_has_no_export(function: Any, error: type[Exception], image: Any, do: Any) -> None:
    with pytest.raises(
        error, match=r"^Do: expected .* write that part with other functions of torch, or leave"
    ):
        fastconv.from_torch(do(function), image)


# ---------------------------------------------------------------- how often it is made


@pytest.mark.parametrize("options", [{}, {"dynamic_size": True}, {"dynamic_batch": False}])
@pytest.mark.parametrize("doubted", [False, True])
def test_a_model_is_made_once(
    options: dict[str, bool], doubted: bool, image: Any, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is held against the module is the one that the caller gets, without what that left."""
    made: list[Any] = []
    start = fastconv.Model.__init__

    def counting(self: Any, *arguments: Any, **keywords: Any) -> None:
        made.append(self)
        start(self, *arguments, **keywords)

    def forward(conv: Any, x: Any) -> Any:
        return conv(x) if doubted and x.sum() == 1e30 else conv(x).relu()

    monkeypatch.setattr(fastconv.Model, "__init__", counting)
    module = do(forward, nn.Conv2d(8, 4, 3))
    model = fastconv.from_torch(module, image, **options)
    assert [model] == made
    fresh = fastconv.Model(*model._remake.args, **model._remake.keywords)
    assert list(model._session.programs) == list(fresh._session.programs)
    assert model._session.pool.bytes == fresh._session.pool.bytes == 0
    assert model._session.plans.budget.spent == fresh._session.plans.budget.spent or "dynamic_size" in options
    np.testing.assert_allclose(model(image.numpy()), module(image).detach().numpy(), rtol=1e-4, atol=1e-5)
