"""``python -m experiments.roofline``: how many multiply-accumulates a second this machine manages.

One large matrix product in every library that is there; the fastest is the ceiling that the
generators are held against. It runs in a process of its own, since libraries read the number of
their threads when they are loaded.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from p2p_runtime.console import P2PCommand

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["measure_ceilings"]

SIDE = 1024
REPEATS = 30
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def measure_ceilings(threads: int) -> dict[str, float]:
    """Return GMAC/s of a matrix product by type.

    There is always ``fp32``, and ``bf16`` and ``int8`` where a library for them is installed.

    Args:
        threads: CPU threads.
    """
    command = [sys.executable, "-m", "experiments.roofline", "--threads", str(threads)]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _fastest(product: Callable[[], object]) -> float:
    """Return GMAC/s of the best repeat: a ceiling is what the machine can do, not what it did."""
    for _ in range(3):
        product()
    seconds = []
    for _ in range(REPEATS):
        start_s = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start_s)
    return SIDE**3 / min(seconds) / 1e9


def _products(threads: int) -> Iterator[tuple[str, Callable[[], object]]]:
    import numpy as np

    noise = np.random.default_rng(0)
    single = noise.random((SIDE, SIDE), dtype=np.float32)
    yield "fp32", lambda: single @ single
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
        wide = torch.from_numpy(single)
        narrow = wide.bfloat16()
        yield "fp32", lambda: wide @ wide
        yield "bf16", lambda: narrow @ narrow
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        bytes_ = noise.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        yield "int8", _integer_product(bytes_, threads)


def _integer_product(left: NDArray[np.uint8], threads: int) -> Callable[[], object]:
    """Return ONNX Runtime's product of unsigned by signed bytes, as in our integer graphs."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    right = numpy_helper.from_array(left.astype("int8"), "right")
    node = helper.make_node("MatMulInteger", ["left", "right"], ["product"])
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, [SIDE, SIDE])],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [SIDE, SIDE])],
        [right],
    )
    opset = helper.make_opsetid("", 20)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"left": left})


@click.command(cls=P2PCommand)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=1, show_default=True)
def main(threads: int) -> None:
    """Measure the machine's matrix products, GMAC/s by type, as JSON."""
    best: dict[str, float] = {}
    for kind, product in _products(threads):
        best[kind] = round(max(best.get(kind, 0.0), _fastest(product)), 1)
    click.echo(json.dumps(best))


if __name__ == "__main__":
    main()
