"""from_torch: models give what the modules give, small ones and whole networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

pytestmark = [pytest.mark.torch]


# ---------------------------------------------------------------- small modules


def channels_last_norm(x: Any) -> Any:
    """Layer normalisation of an image's channels, from functions alone."""
    x = x.permute(0, 2, 3, 1)
    x = (x - x.mean(-1, keepdim=True)) / (
        (x - x.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True) + 1e-5
    ).sqrt()
    return x.permute(0, 3, 1, 2)


def attention(norm: Any, attend: Any, conv: Any, x: Any) -> Any:
    """A block of attention over the pixels between two convolutions' worth of work."""
    tokens = norm(x).flatten(2).transpose(1, 2)
    tokens = tokens + attend(tokens, tokens, tokens, need_weights=False)[0]
    return conv(tokens.transpose(1, 2).reshape(x.shape)) + x


def shuffled(x: Any) -> Any:
    batch, channels, height, width = x.shape
    return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


def classify(conv: Any, linear: Any, x: Any) -> Any:
    x = F.max_pool2d(F.relu(conv(x)), 2)
    return F.softmax(linear(torch.flatten(x, 1)), 1)


MODULES: dict[str, Callable[[], Any]] = {
    "groups": lambda: nn.Sequential(
        nn.Conv2d(8, 16, 3, groups=4, padding=2, dilation=2),
        nn.Conv2d(16, 16, 3, groups=16, padding="same"),
        nn.Conv2d(16, 8, (3, 1), padding=(1, 0), bias=False),
    ),
    "transposed": lambda: nn.Sequential(
        nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(6, 4, 3, groups=2, dilation=2),
    ),
    "reflected padding": lambda: nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect"),
    "circular padding": lambda: nn.Conv2d(8, 4, 3, padding=1, padding_mode="circular"),
    "constant padding": lambda: nn.ConstantPad2d((1, 2, 0, 3), 0.5),
    "pools": lambda: nn.Sequential(
        nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)
    ),
    "pixel shuffle": lambda: nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(2, 2, 3), nn.PixelUnshuffle(2)),
    "activations": lambda: nn.Sequential(
        *(nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.PReLU(8), nn.ELU(), nn.Hardtanh(-0.5, 2), nn.LeakyReLU()),
        *(nn.Hardsigmoid(), nn.Tanh(), nn.Sigmoid(), nn.ReLU6(), nn.Softsign(), nn.Tanhshrink(), nn.GLU(1)),
    ),
    "dropout": lambda: nn.Sequential(
        nn.Dropout(0.9), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Dropout2d(0.9)
    ),
    "more activations": lambda: nn.Sequential(
        *(
            nn.Mish(),
            nn.Softplus(),
            nn.SELU(),
            nn.CELU(0.5),
            nn.LogSigmoid(),
            nn.Softshrink(),
            nn.Hardshrink(),
        ),
        *(nn.LogSoftmax(1), nn.Threshold(0, 0)),
    ),
    "group normalisation": lambda: nn.GroupNorm(4, 8),
    "instance normalisation": lambda: nn.InstanceNorm2d(8, affine=True),
    "layer normalisation": lambda: nn.LayerNorm([8, 12, 10]),
    "root mean square normalisation": lambda: nn.RMSNorm(10),
    "response normalisation": lambda: nn.LocalResponseNorm(5),
    "weight normalisation": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 4, 3)),
    "spectral normalisation": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 4, 3)),
    "adaptive average": lambda: nn.AdaptiveAvgPool2d(7),
    "adaptive average of one axis": lambda: nn.AdaptiveAvgPool2d((None, 4)),
    "adaptive average that enlarges": lambda: nn.AdaptiveAvgPool2d((24, 15)),
    "adaptive maximum": lambda: nn.AdaptiveMaxPool2d((5, 7)),
    "power average": lambda: nn.LPPool2d(2, 2),
    "channel shuffle module": lambda: nn.ChannelShuffle(4),
    "unfolded": lambda: nn.Unfold(3, padding=1),
    "encoder": lambda: nn.TransformerEncoderLayer(10, 2, 16, batch_first=True),
    "statistics of the batch": lambda: nn.BatchNorm2d(8, track_running_stats=False),
    "statistics of the batch alone": lambda: nn.BatchNorm2d(8, affine=False, track_running_stats=False),
    "nothing": lambda: nn.Identity(),
}
FUNCTIONS: dict[str, Callable[[], list[Any]]] = {  # with the modules that they take before the image
    "functions": lambda: [classify, nn.Conv2d(8, 4, 3, padding=1), nn.Linear(4 * 30, 5)],
    "nearest": lambda: [lambda x: F.interpolate(x, scale_factor=2)],
    "nearest of a size": lambda: [lambda x: F.interpolate(x, size=(7, 9))],
    "bilinear": lambda: [lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")],
    "bilinear of a size": lambda: [
        lambda x: F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True)
    ],
    "bicubic": lambda: [lambda x: F.interpolate(x, scale_factor=1.5, mode="bicubic")],
    "nearest-exact": lambda: [lambda x: F.interpolate(x, scale_factor=1.5, mode="nearest-exact")],
    "nearest-exact of a size": lambda: [lambda x: F.interpolate(x, size=7, mode="nearest-exact")],
    "area": lambda: [lambda x: F.interpolate(x, size=(5, 10), mode="area")],
    "area that divides": lambda: [lambda x: F.interpolate(x, scale_factor=0.5, mode="area")],
    "antialiased": lambda: [lambda x: F.interpolate(x, size=(5, 17), mode="bilinear", antialias=True)],
    "antialiased by factors": lambda: [
        lambda x: F.interpolate(x, scale_factor=(0.3, 0.7), mode="bicubic", antialias=True)
    ],
    "antialiased by a factor": lambda: [
        lambda x: F.interpolate(
            x, scale_factor=0.45, mode="bilinear", antialias=True, recompute_scale_factor=True
        )
    ],
    "global pools": lambda: [lambda x: F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1)],
    "adaptive pools": lambda: [lambda x: F.adaptive_avg_pool2d(x, (3, 2)) + F.adaptive_max_pool2d(x, (3, 2))],
    "channel shuffle": lambda: [shuffled],
    "products of each two": lambda: [lambda f, x: f(x, x[..., :4]), nn.Bilinear(10, 4, 3)],
    "products of each two, no bias": lambda: [lambda f, x: f(x, x), nn.Bilinear(10, 10, 5, bias=False)],
    "normalisation": lambda: [channels_last_norm],
    "attention": lambda: [
        attention,
        nn.BatchNorm2d(8),
        nn.MultiheadAttention(8, 2, batch_first=True),
        nn.Conv2d(8, 8, 1),
    ],
    "squeeze and excitation": lambda: [
        lambda conv, x: x * torch.sigmoid(conv(x.mean((2, 3), keepdim=True))),
        nn.Conv2d(8, 8, 1),
    ],
    "slices": lambda: [lambda x: x[:, ::2, 1:-1, :5] + x[:, 1::2, 1:-1, 5:]],
    "split and joined": lambda: [lambda x: torch.cat((*x.split([3, 5], 1)[::-1], *x.chunk(2, 1)), 1)],
    "rolled and turned": lambda: [lambda x: torch.flip(torch.roll(x, (1, 2), (2, 3)), (3,))],
    "shape arithmetic": lambda: [lambda x: x + torch.arange(x.shape[3], dtype=x.dtype) / x.shape[2]],
    "in place": lambda: [lambda x: x.clone().mul_(2).add_(1)],
    "products": lambda: [lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2)],
    "transposed matrices": lambda: [lambda x: x @ x.mT],
    "reductions": lambda: [
        lambda x: (x.sum(1), x.amax(1), x.amin((1, 2)), x.std(1), x.norm(dim=1), x.logsumexp(1), x.argmax(1))
    ],
    "normalised": lambda: [lambda x: F.normalize(x, dim=1)],
    "repeated": lambda: [lambda x: x.repeat(1, 2, 1, 2).cumsum(1)],
    "chosen": lambda: [lambda x: torch.where(x > 0, x, 0.1 * x).gather(1, x.argmax(1, keepdim=True))],
    "the input itself": lambda: [lambda conv, x: (x, conv(x)), nn.Conv2d(8, 4, 1)],
    "an output twice": lambda: [lambda conv, x: [conv(x)] * 2, nn.Conv2d(8, 4, 1)],
}


@pytest.mark.parametrize("name", [*MODULES, *FUNCTIONS])
def test_small_modules(name: str, image: Any, assert_equal: Any, do: Any) -> None:
    torch.manual_seed(0)
    module = MODULES[name]() if name in MODULES else do(*FUNCTIONS[name]())
    if isinstance(module, nn.TransformerEncoderLayer):
        image = image.flatten(1, 2)  # three dimensions
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.track_running_stats:
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    model = fastconv.from_torch(module, image)
    assert_equal(model, module, image)
    assert_equal(model, module, torch.cat([image + 1, image[:1]]))


def test_one_dimension(assert_equal: Any) -> None:
    layers = nn.Conv1d(4, 8, 5, stride=2, padding=2), nn.BatchNorm1d(8), nn.MaxPool1d(2), nn.AvgPool1d(2)
    module = nn.Sequential(*layers, nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1))
    x = torch.randn(2, 4, 40)
    assert_equal(fastconv.from_torch(module, x), module, x)


def test_three_dimensions(assert_equal: Any) -> None:
    layers = nn.Conv3d(3, 8, 3, padding=1, stride=(1, 2, 2)), nn.BatchNorm3d(8), nn.MaxPool3d(2)
    module = nn.Sequential(*layers, nn.AvgPool3d(2, padding=1), nn.ConvTranspose3d(8, 4, 2, stride=2))
    x = torch.randn(2, 3, 8, 16, 12)
    assert_equal(fastconv.from_torch(module, x), module, x)


def test_other_dimensions_of_adaptive_pools(assert_equal: Any) -> None:
    for module, x in (
        (nn.AdaptiveAvgPool1d(5), torch.randn(2, 3, 17)),
        (nn.AdaptiveMaxPool1d(5), torch.randn(2, 3, 17)),
        (nn.AdaptiveAvgPool3d((2, 3, 2)), torch.randn(2, 3, 5, 7, 4)),
        (nn.AdaptiveMaxPool3d((2, 3, 2)), torch.randn(2, 3, 5, 7, 4)),
    ):
        assert_equal(fastconv.from_torch(module, x), module, x)


class Recurrent(nn.Module):
    """An LSTM whose states are arguments and results."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8, proj_size=3, **options)

    def forward(self, x: Any, h: Any = None, c: Any = None) -> Any:
        y, (h, c) = self.lstm(x, None if h is None else (h, c))
        return y, h, c


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
def test_lstms_with_projections(options: dict[str, Any], bias: bool, assert_equal: Any) -> None:
    """Their states are zeros, or given: then each is the projection of something."""
    torch.manual_seed(0)
    module = Recurrent(bias=bias, **options)
    x = torch.randn((2, 7, 5) if options else (7, 2, 5))
    assert_equal(fastconv.from_torch(module, x, dynamic_batch=False), module, x)
    count = 4 if options else 1
    h, c = torch.randn(count, 2, 3), torch.randn(count, 2, 8)
    model = fastconv.from_torch(module, (x, h, c), dynamic_batch=False)
    assert_equal(model, module, x, 2 * h, c - 1)


def test_indices_as_an_input(image: Any, do: Any) -> None:
    module = do(lambda table, x, i: table(i).mean(1)[:, :, None, None] * x, nn.Embedding(10, 8))
    indices = torch.tensor([[1, 9, 3], [0, 4, 4]])
    model = fastconv.from_torch(module, (image, indices))
    expected = module(image, indices.flip(0)).detach().numpy()
    np.testing.assert_allclose(model(image.numpy(), indices.flip(0).numpy()), expected, rtol=0, atol=1e-5)


def test_several_inputs(image: Any, assert_equal: Any, do: Any) -> None:
    module = do(
        lambda conv, x, y: F.interpolate(conv(x), size=y.shape[2:], mode="bilinear", align_corners=False) + y,
        nn.Conv2d(8, 3, 1),
    )
    y = torch.randn(2, 3, 24, 20)
    model = fastconv.from_torch(module, (image, y))
    assert [(info.name, info.shape) for info in model.inputs] == [
        ("x", ("batch", 8, 12, 10)),
        ("y", ("batch", 3, 24, 20)),
    ]
    assert_equal(model, module, image, y)


# ---------------------------------------------------------------- networks

TORCHVISION = {
    "resnet18": 65,
    "resnet50": 65,
    "mobilenet_v2": 65,
    "mobilenet_v3_small": 65,
    "squeezenet1_1": 65,
    "shufflenet_v2_x0_5": 65,
    "densenet121": 65,
    "googlenet": 65,
    "inception_v3": 80,
    "efficientnet_b0": 65,
    "regnet_y_400mf": 65,
    "mnasnet0_5": 65,
    "convnext_tiny": 64,
    "vgg11_bn": 160,  # the classifier's pooling enlarges
}
TIMM = ["convnext_atto", "efficientnet_lite0", "repvgg_a0", "ghostnet_100"]


def compare_network(net: Any, size: int, assert_equal: Any) -> None:
    x = torch.randn(1, 3, size, size)
    model = fastconv.from_torch(net, x)
    # Auxiliary classifiers are not run in evaluation.
    learned = [p for name, p in net.named_parameters() if not name.lower().startswith("aux")]
    assert model.parameters == sum(p.numel() for p in learned)
    assert_equal(model, net, x)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str, torchvision: Any, randomised: Any, assert_equal: Any) -> None:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    make = getattr(torchvision.models, name)
    net = randomised(lambda: make(weights=None, num_classes=10, **options))
    compare_network(net, TORCHVISION[name], assert_equal)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str, timm: Any, randomised: Any, assert_equal: Any) -> None:
    compare_network(randomised(lambda: timm.create_model(name, num_classes=10)), 65, assert_equal)
