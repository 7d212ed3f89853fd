"""Properties of the exported graphs that must not get worse unnoticed."""

from __future__ import annotations

from statistics import median

import pytest

from experiments.random_models import DEPTH_TO_SPACE, write_random_run
from p2p_bench.backends.registry import BACKENDS
from p2p_bench.files import Files, bench_frames
from p2p_bench.run import compare
from p2p_runtime.model.onnx_check import inspect_onnx
from p2p_runtime.translate.translator import Translator


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return a narrow generator with random weights."""
    forms = ("fp32", "int8", DEPTH_TO_SPACE)
    folder = tmp_path_factory.mktemp("run")
    return write_random_run(folder, ngf=4, height=128, width=128, forms=forms)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return a generator that is wide enough for arithmetic to matter."""
    folder = tmp_path_factory.mktemp("wide")
    return write_random_run(folder, ngf=24, height=128, width=128, forms=("fp32", "int8"))


def test_the_integer_graph_has_no_slow_operators(files: Files):
    """No transposed convolution, no DepthToSpace, and no more operators than now."""
    counts = inspect_onnx(files.bundles["int8"]).op_types
    assert counts["Conv"] == 15  # the last one twice
    assert "ConvTranspose" not in counts
    assert "DepthToSpace" not in counts
    assert "BatchNormalization" not in counts
    assert counts["QuantizeLinear"] <= 38
    assert sum(counts.values()) <= 180


def test_the_float_graph_is_folded(files: Files):
    """Seven encoder and seven decoder blocks, and no norm between them."""
    counts = inspect_onnx(files.bundles["fp32"]).op_types
    assert (counts["Conv"], counts["ConvTranspose"]) == (7, 7)
    assert "BatchNormalization" not in counts
    assert sum(counts.values()) <= 46


def test_a_slow_operator_would_be_noticed(files: Files):
    """The counts come from the files: the form with DepthToSpace has seven of it."""
    other = files.bundles[DEPTH_TO_SPACE]
    assert inspect_onnx(other).op_types["DepthToSpace"] == 7


@pytest.mark.timing
def test_int8_is_faster(wide: Files):
    """int8 is faster than fp32 by far more than noise; it is about twice as fast."""
    frames, _ = bench_frames(wide, None, 30, batch=1)
    rows = compare([BACKENDS["fp32"], BACKENDS["int8"]], wide, frames, threads=1)
    assert rows[1].latency.speedup > 1.15


@pytest.mark.timing
def test_the_translator_adds_little(wide: Files):
    """Pre- and postprocessing a frame of the model's size takes a small part of the time."""
    frames, _ = bench_frames(wide, None, 20, batch=1)
    with Translator.load(wide.bundles["int8"], device="cpu", threads=1) as translate:
        times_ms = [translate.translate(batch[0]).times_ms for batch in frames]
    outside_ms = median(times["preprocess"] + times["postprocess"] for times in times_ms)
    engine_ms = median(times["infer"] for times in times_ms)
    assert outside_ms < 0.7 * engine_ms  # 0.16 when it was written
