"""What must not get worse unnoticed: counts, and ratios with a wide margin. Never a time."""

from __future__ import annotations

from statistics import median

import pytest

from experiments.random_models import DEPTH_TO_SPACE, write_random_run
from p2p_bench.backends.registry import BACKENDS
from p2p_bench.files import Files
from p2p_bench.inputs import bench_frames
from p2p_bench.run import compare
from p2p_runtime.model.onnx_check import inspect_onnx
from p2p_runtime.translate.translator import Translator


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return a generator with random weights, wide enough for arithmetic to matter."""
    return write_random_run(tmp_path_factory.mktemp("run"), ngf=24, height=128, width=128)


def test_the_integer_graph_has_nothing_that_slows_it_down(files: Files):
    """No transposed convolution, no DepthToSpace, and no more operators than now."""
    counts = inspect_onnx(files.bundles["int8"]).op_types
    assert counts["Conv"] == 14
    assert "ConvTranspose" not in counts
    assert "DepthToSpace" not in counts
    assert "BatchNormalization" not in counts
    assert counts["QuantizeLinear"] <= 35
    assert sum(counts.values()) <= 170


def test_the_float_graph_is_folded(files: Files):
    """Seven convolutions down, seven up, and no norm between them."""
    counts = inspect_onnx(files.bundles["fp32"]).op_types
    assert (counts["Conv"], counts["ConvTranspose"]) == (7, 7)
    assert "BatchNormalization" not in counts
    assert sum(counts.values()) <= 46


def test_integers_pay(files: Files):
    """int8 is faster than fp32 by far more than noise; it is about twice as fast."""
    frames, _ = bench_frames(files, None, 30, batch=1)
    rows, _ = compare([BACKENDS["fp32"], BACKENDS["int8"]], files, frames, threads=1)
    assert rows[1].latency.speedup > 1.15


def test_the_translator_adds_little(files: Files):
    """Fitting and restoring a frame of the model's own size is a small part of translating it."""
    frames, _ = bench_frames(files, None, 20, batch=1)
    with Translator.load(files.bundles["int8"], device="cpu", threads=1) as translate:
        done = [translate.translate(batch[0]) for batch in frames]
    times_ms = [task.times_ms for task in done]
    outside_ms = median(times["preprocess"] + times["postprocess"] for times in times_ms)
    assert outside_ms < 0.7 * median(
        times["infer"] for times in times_ms
    )  # 0.16 when it was written


def test_the_guard_would_notice(files: Files):
    """The counts come from the files themselves: the DepthToSpace form is found out."""
    other = files.bundles[DEPTH_TO_SPACE]
    assert inspect_onnx(other).op_types["DepthToSpace"] == 7
