"""``python -m experiments.speed.scaling``: time a generator as size, width, batch or threads grow.

Along each axis one thing grows; the rest stays at width 32, 256x256, batch 1, two threads. Of
pixels, the generator is that of ``--recipe edge``, whose sizes are multiples of 32 px, and its int8
bundle runs in ``p2p-run``, too. The weights are random.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness import Document, frames_option, input_option, study

if TYPE_CHECKING:
    from p2p_bench.files import Files

__all__ = ["AXES", "Point", "int8_roofline", "main", "run_point", "table", "time_point"]

BACKENDS_COMPARED = ("eager", "fp32", "int8")
ROOFLINE_CHANNELS, ROOFLINE_SIDE_PX = 256, 64
LOOPS = 3
"""How often the label video is repeated, so that starting counts little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A configuration to time: the generator, its frames, batch size and CPU threads."""

    ngf: int = 32
    height: int = 256
    width: int = 256
    batch: int = 1
    threads: int = 2
    num_downs: int | None = None


_BASE = Point()
_EDGE = Point(ngf=16, num_downs=5)
AXES: dict[str, tuple[Point, ...]] = {
    "size": tuple(
        replace(_BASE, height=height, width=width)
        for height, width in ((128, 128), (256, 256), (256, 512), (512, 512))
    ),
    "pixels": tuple(
        replace(_EDGE, height=height, width=width)
        for height, width in ((256, 256), (256, 512), (544, 960), (736, 1280))
    ),
    "ngf": tuple(replace(_BASE, ngf=ngf) for ngf in (16, 32, 64)),
    "batch": tuple(replace(_BASE, batch=batch) for batch in (1, 2, 4, 8)),
    "threads": tuple(replace(_BASE, threads=threads) for threads in (1, 2)),
}
"""Configurations of each axis."""
SMOKE_AXES = {
    "batch": (Point(ngf=2, height=32, width=32, batch=2, threads=1),),
    "pixels": (Point(ngf=2, height=32, width=64, threads=1, num_downs=4),),
}


def time_point(point: Point, files: Files, frames: int) -> dict[str, Any]:
    """Return the point, its GMAC, and time per frame (ms) and memory (MiB) by backend."""
    from p2p_bench.backends.registry import BACKENDS
    from p2p_bench.files import bench_frames
    from p2p_bench.run import compare, gmac_of

    inputs, _ = bench_frames(files, None, frames, point.batch)
    backends = [BACKENDS[name] for name in BACKENDS_COMPARED]
    rows = compare(backends, files, inputs, point.threads)
    latencies = [row.latency for row in rows if row.latency is not None]
    return {
        **asdict(point),
        "gmac": gmac_of(files),
        "median_ms": {one.name: one.median_ms / point.batch for one in latencies},
        "p99_ms": {one.name: one.p99_ms / point.batch for one in latencies},
        "peak_rss_mib": {row.name: row.peak_rss_mib for row in rows},
    }


def run_point(point: Point, files: Files, video: Path, folder: Path) -> dict[str, float]:
    """Return what ``p2p-run`` makes of a label video of the point's size, with its int8 bundle.

    Args:
        point: for its size and threads.
        files: its bundles.
        video: a label video of any size; it is scaled, and encoded in H.264.
        folder: for temporary files.

    Returns:
        ``run_fps``, frames a second from decoder to H.264 file; ``run_mib``, peak memory of the
        process; ``repair_ms``, median time of label repair at the video's own size on one core.
    """
    import cv2
    import numpy as np

    from experiments.labels.recoding import CODINGS, recode
    from experiments.labels.repair import median_ms, one_core
    from p2p_bench.files import read_frames
    from p2p_runtime.labels.palette import CITYSCAPES
    from p2p_runtime.model.contract import PixelContract

    size = (point.width, point.height)
    frames = [cv2.resize(one, size, interpolation=cv2.INTER_NEAREST) for one in read_frames(video)]
    coded = recode(np.stack(frames * LOOPS), CODINGS[3])  # crf 23
    contract = PixelContract(height=point.height, width=point.width, palette=CITYSCAPES)
    with one_core():
        repair_ms = median_ms(contract.classify, coded.pictures[: len(frames)])
    clip, report = folder / "clip.mkv", folder / "report.json"
    clip.write_bytes(coded.file)
    subprocess.run(
        [
            *(sys.executable, "-m", "p2p_runtime.cli", "--video", clip, "--report", report),
            *("--model", files.bundles["int8"], "--threads", str(point.threads)),
            *("--output", folder / "out.mp4", "--overwrite"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    told = json.loads(report.read_text(encoding="utf-8"))
    return {"run_fps": told["fps"], "run_mib": told["peak_rss_mib"], "repair_ms": repair_ms}


def int8_roofline(threads: int, calls: int) -> float:
    """Return GMAC/s of ONNX Runtime's int8 convolution where it is at its best.

    It has 3x3 kernels, 256 channels in and out, 64x64 px, and scales of whole tensors.
    """
    import numpy as np
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    shape = [1, ROOFLINE_CHANNELS, ROOFLINE_SIDE_PX, ROOFLINE_SIDE_PX]
    rng = np.random.default_rng(0)
    weights = rng.integers(-64, 64, (ROOFLINE_CHANNELS, ROOFLINE_CHANNELS, 3, 3), np.int8)
    constants = {
        **{"scale": np.float32(1), "zero": np.uint8(128)},
        **{"weights": weights, "fine": np.float32(1e-3), "middle": np.int8(0)},
    }
    operands = ["frame", "scale", "zero", "weights", "fine", "middle", "scale", "zero"]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", operands, ["image"], pads=[1, 1, 1, 1])],
        "roofline",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(np.asarray(one), name) for name, one in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    frame = rng.integers(0, 256, shape, np.uint8)
    times_s = []
    for _ in range(calls + 2):  # the first two warm up
        start_s = time.perf_counter()
        session.run(None, {"frame": frame})
        times_s.append(time.perf_counter() - start_s)
    gmac = weights.size * ROOFLINE_SIDE_PX**2 / 1e9
    return gmac / statistics.median(times_s[2:])


def table(document: Document) -> str:
    """Return a table per axis: milliseconds per frame and speed-up over the first backend.

    Of pixels, int8 alone, and ``p2p-run`` with it.
    """
    from experiments.harness import markdown_table

    parts = []
    for axis, points in document["axes"].items():
        if axis == "pixels":
            titles = [axis, "int8", "per megapixel", "of the roofline"]
            titles += ["p2p-run", "its memory", "label repair, one core"]
            rows = [_cells_of_pixels(point, document["roofline_gmac_s"]) for point in points]
        else:
            names = list(points[0]["median_ms"])
            titles = [axis, "GMAC per frame", *names]
            rows = [_cells(axis, point, names) for point in points]
        parts.append(markdown_table(titles, rows))
    return "\n\n".join(parts)


def _cells_of_pixels(point: dict[str, Any], roofline_gmac_s: float) -> list[str]:
    int8_ms = point["median_ms"]["int8"]
    return [
        f"{point['width']}x{point['height']}",
        f"{int8_ms:.1f} ms",
        f"{int8_ms / (point['width'] * point['height'] / 1e6):.1f} ms",
        f"{point['gmac'] / (int8_ms / 1e3) / roofline_gmac_s:.0%}",
        f"{point['run_fps']:.1f} frames/s",
        f"{point['run_mib']:.0f} MiB",
        f"{point['repair_ms']:.1f} ms",
    ]


def _cells(axis: str, point: dict[str, Any], names: list[str]) -> list[str]:
    size = f"{point['width']}x{point['height']}"
    medians = point["median_ms"]
    return [
        size if axis == "size" else str(point[axis]),
        f"{point['gmac']:.2f}",
        *(f"{medians[name]:.1f} ms, {medians[names[0]] / medians[name]:.1f}x" for name in names),
    ]


@study("scaling", frames_option(20), input_option("--video", "Label video."), table=table)
def main(*, frames: int, video: Path, smoke: bool) -> Document:
    """Time torch and our exports while one thing grows; milliseconds are per frame."""
    axes = SMOKE_AXES if smoke else AXES
    timed: dict[Point, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for point in {point: None for points in axes.values() for point in points}:
            files = _model(point, Path(scratch))
            timed[point] = time_point(point, files, frames)
            if point in axes["pixels"]:
                timed[point] |= run_point(point, files, video, Path(scratch))
    points = {axis: [timed[point] for point in points] for axis, points in axes.items()}
    roofline_gmac_s = int8_roofline(_BASE.threads, frames)
    return {"frames": frames, "roofline_gmac_s": roofline_gmac_s, "axes": points}


def _model(point: Point, folder: Path) -> Files:
    """Return the generator of a point, written once for all points that share it."""
    from experiments.random_models import CHECKPOINT_NAME, write_random_run
    from p2p_bench.files import find_files

    models = folder / f"ngf{point.ngf}-{point.num_downs}-{point.width}x{point.height}"
    if models.exists():
        return find_files(models, models / CHECKPOINT_NAME)
    models.mkdir()
    size = {"ngf": point.ngf, "height": point.height, "width": point.width}
    return write_random_run(models, **size, num_downs=point.num_downs, forms=BACKENDS_COMPARED[1:])


if __name__ == "__main__":
    main()
