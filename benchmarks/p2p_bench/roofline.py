"""Measure the roofline: the most multiply-accumulates a second that this machine manages.

It is the fastest large matrix product of any installed library, timed in a process of its own
because libraries read their number of threads while they are loaded.
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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["measure_roofline"]

SIDE = 1024
"""Rows and columns of both matrices."""
REPEATS = 30
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def measure_roofline(threads: int) -> dict[str, float]:
    """Return GMAC/s of a matrix product by type.

    There is always ``fp32``, and ``bf16`` and ``int8`` if a library for them is installed.

    Args:
        threads: CPU threads.
    """
    command = [sys.executable, "-m", __name__, str(threads)]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _fastest(product: Callable[[], object]) -> float:
    """Return GMAC/s of the fastest repeat, since a roofline is what the machine can reach."""
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
        integers = noise.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        yield "int8", _integer_product(integers, threads)


def _integer_product(left: NDArray[np.uint8], threads: int) -> Callable[[], object]:
    """Return ONNX Runtime's product of unsigned by signed bytes, as in the int8 graphs."""
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


if __name__ == "__main__":
    best: dict[str, float] = {}
    for kind, product in _products(int(sys.argv[1])):
        best[kind] = round(max(best.get(kind, 0.0), _fastest(product)), 1)
    sys.stdout.write(json.dumps(best))
