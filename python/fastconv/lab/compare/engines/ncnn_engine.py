"""ncnn in f32: networks alone, converted once by pnnx."""

from __future__ import annotations

import subprocess
import sys

import ncnn
import numpy as np
import numpy.typing as npt

from fastconv.lab.compare.cases import Case, Prepared
from fastconv.lab.compare.network_files import files_of


def prepare(case: Case, mode: str, threads: int) -> Prepared:  # noqa: ARG001
    """Prepare a network of one image: ncnn knows no batch."""
    files = files_of(case)
    x = files.x
    if len(x) != 1:
        raise ValueError(f"ncnn: expected one image, got a batch of {len(x)}")
    param, weights = files.folder / "model.ncnn.param", files.folder / "model.ncnn.bin"
    if not param.exists():
        subprocess.run(
            [
                *(sys.executable, "-c", "from pnnx import pnnx; pnnx()", files.model.name),
                *(f"inputshape=[{','.join(map(str, x.shape))}]", "fp16=0"),
            ],
            cwd=files.folder,
            check=True,
            capture_output=True,
        )
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.load_param(str(param))
    net.load_model(str(weights))
    name_in, name_out = net.input_names()[0], net.output_names()[0]
    image = ncnn.Mat(x[0]).clone()  # Mat(array) does not keep the array

    def run() -> ncnn.Mat:
        extractor = net.create_extractor()
        extractor.input(name_in, image)
        return extractor.extract(name_out)[1]

    def result(y: ncnn.Mat) -> npt.NDArray[np.float32]:
        return np.array(y).reshape(files.expected.shape)

    return Prepared(run, result)
