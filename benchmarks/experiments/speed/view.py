"""``python -m experiments.speed.view``: what does a viewer of the live page cost, and see how late?

Cost: a run on frames in memory, which takes both cores, has a viewer in every other slice of time.
Ratios are those of neighbouring slices, so load from outside affects both alike. A row without
the page is measured in the same turns, with the page switched off.

Lateness: frames come at a fixed rate. Into each, the time at which it was there is drawn as bits,
and read from what a browser shows at each of its refreshes.
"""

from __future__ import annotations

import contextlib
import itertools
import runpy
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness import (
    Document,
    files_option,
    float_option,
    markdown_table,
    rounds_option,
    study,
)
from p2p_bench.files import read_frames
from p2p_runtime.translate.pipeline import run_pipeline
from p2p_runtime.translate.translator import Translator
from p2p_runtime.translate.workers import default_workers, use_one_opencv_thread
from p2p_runtime.video.frames import FrameTask, VideoInfo
from p2p_runtime.video.sinks import NullSink
from p2p_runtime.video.view import LiveView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main", "measure_cost", "measure_lateness", "table"]

BROWSER = Path(__file__).parents[3] / "tests" / "toys" / "browser.py"

FPS = 25
LINK_BYTES_S = 250_000
"""Speed of the slow link, which takes about half of the frames."""

BITS, BIT_PX = 24, 8
"""Bits of the time stamp, in milliseconds, and the side of a bit in pixels."""

VIEWER = """
import http.client, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for line in sys.stdin:
    end_s, after, seen = time.monotonic() + float(line), -1, 0
    while time.monotonic() < end_s:
        connection.request("GET", f"/frame?input=1&after={after}")
        answer = connection.getresponse()
        answer.read()
        after, seen = answer.headers["X-Frame"] or after, seen + 1
    print(seen, flush=True)
"""

LOOK = """
new Promise(resolve => {
  const picture = document.querySelector("canvas, img"), late = new Map();
  const copy = new OffscreenCanvas(BITS * BIT_PX, BIT_PX)
    .getContext("2d", {willReadFrequently: true});
  const end = performance.now() + SECONDS * 1000;
  const look = () => {
    const width = BITS * BIT_PX;
    copy.drawImage(picture, 0, 0, width, BIT_PX, 0, 0, width, BIT_PX);
    const levels = copy.getImageData(0, BIT_PX / 2, width, 1).data;
    let stamp = 0;
    for (let bit = 0; bit < BITS; bit++)
      stamp = 2 * stamp + (levels[4 * (bit * BIT_PX + BIT_PX / 2)] > 127);
    const now = Math.floor(performance.timeOrigin + performance.now()) % 2 ** BITS;
    if (stamp && !late.has(stamp)) late.set(stamp, now - stamp);
    if (performance.now() < end) requestAnimationFrame(look); else resolve([...late.values()]);
  };
  look();
})
"""


class _Endless:
    """A source of frames in memory that ends when it is told to."""

    frames_lost = 0

    def __init__(self, frames: Sequence[NDArray[np.uint8]]) -> None:
        height, width = frames[0].shape[:2]
        self.info = VideoInfo(width=width, height=height, fps=FPS, frame_count=None)
        self._frames, self.ended = frames, threading.Event()

    def __iter__(self) -> Iterator[FrameTask]:
        for index, frame in enumerate(itertools.cycle(self._frames)):
            if self.ended.is_set():
                return
            yield FrameTask(picture=frame, index=index)

    def close(self) -> None:
        """Nothing to release."""


def measure_cost(
    model: Path, frames: Sequence[NDArray[np.uint8]], *, rounds: int, slice_s: float
) -> dict[str, Any]:
    """Translate without end, with and without a viewer in turns.

    Args:
        model: the bundle.
        frames: (H, W, 3) uint8 BGR each, all of one size, translated in a loop.
        rounds: number of pairs of slices.
        slice_s: duration of a slice in seconds.

    Returns:
        ``fps_alone`` and ``fps_watched``, medians of the slices; ``ratio``, the median over the
        rounds of watched over alone; ``viewer_fps``, frames a second that the viewer got.
    """
    use_one_opencv_thread()
    source, count = _Endless(frames), itertools.count()
    written = [0]
    with (
        LiveView("0") as view,
        Translator.load(
            model, device="cpu", dedupe_threshold_px=None, workers=default_workers("cpu", None)
        ) as translator,
    ):

        def on_frame(task: FrameTask) -> None:
            view(task)
            written[0] = next(count)

        def run() -> None:
            run_pipeline(source, translator, NullSink(), keep_inputs=True, on_frame=on_frame)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            return _slices(view, written, rounds, slice_s)
        finally:
            source.ended.set()
            thread.join()


def _slices(view: LiveView, written: list[int], rounds: int, slice_s: float) -> dict[str, Any]:
    port = view.url.rstrip("/").rsplit(":", 1)[1]
    viewer = subprocess.Popen(
        [sys.executable, "-c", VIEWER, port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert viewer.stdin is not None and viewer.stdout is not None
    fps: dict[bool, list[float]] = {False: [], True: []}
    seen = 0

    def take(watched: bool) -> None:
        nonlocal seen
        began_s, before = time.perf_counter(), written[0]
        if watched:
            print(slice_s, file=viewer.stdin, flush=True)
            seen += int(viewer.stdout.readline())  # type: ignore[union-attr]  # a pipe
        else:
            time.sleep(slice_s)
        fps[watched].append((written[0] - before) / (time.perf_counter() - began_s))

    with viewer, viewer.stdin:
        take(True)  # the model and the viewer get warm
        fps[True].clear()
        seen = 0
        for number in range(rounds):
            for watched in (False, True) if number % 2 else (True, False):
                take(watched)
    ratios = [with_one / alone for with_one, alone in zip(fps[True], fps[False], strict=True)]
    return {
        "fps_alone": statistics.median(fps[False]),
        "fps_watched": statistics.median(fps[True]),
        "ratio": statistics.median(ratios),
        "viewer_fps": seen / (rounds * slice_s),
    }


def measure_lateness(
    frames: Sequence[NDArray[np.uint8]], *, seconds: float
) -> dict[str, dict[str, float]]:
    """Show frames, and return for each way and link how late a browser shows them.

    Args:
        frames: (H, W, 3) uint8 BGR each, at least 192 px wide.
        seconds: duration for each way and link.

    Returns:
        By name ``p50_ms`` and ``p95_ms``, from when a frame was there to when it was seen, and
        ``fps``, frames a second that were seen.
    """
    import numpy as np

    rows: dict[str, dict[str, float]] = {}
    headless = runpy.run_path(str(BROWSER))["headless"]
    script = LOOK.replace("BITS", str(BITS)).replace("BIT_PX", str(BIT_PX))
    script = script.replace("SECONDS", str(seconds))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        LiveView("0") as view,
        _paced(frames, view),
        headless(Path(profile)) as first,
    ):
        for (way, path), (link, speed) in itertools.product(
            (("the page", ""), ("MJPEG", "mjpeg")), (("none", -1), ("slow", LINK_BYTES_S))
        ):
            tab = first.another()
            conditions = {"offline": False, "latency": 0, "uploadThroughput": -1}
            tab("Network.emulateNetworkConditions", **conditions, downloadThroughput=speed)
            tab("Emulation.setDeviceMetricsOverride", width=1280, height=900,
                deviceScaleFactor=1, mobile=False)  # fmt: skip
            tab("Page.navigate", url=view.url + path)  # a stream never ends loading
            tab.wait("Boolean(document.querySelector('canvas, img'))")
            tab.value("typeof split == 'undefined' || (split.value = 0)")
            time.sleep(min(2.0, seconds))
            late: list[float] = []
            while not late:  # a busy machine may show none in a smoke run's time
                late = tab.value(script)
            tab("Page.close")
            p50, p95 = np.percentile(late, (50, 95)).tolist()
            rows[f"{way}, {link}"] = {"p50_ms": p50, "p95_ms": p95, "fps": len(late) / seconds}
    return rows


@contextlib.contextmanager
def _paced(frames: Sequence[NDArray[np.uint8]], view: LiveView) -> Iterator[None]:
    """Show frames at a fixed rate during the block, each with the time at which it is there."""
    ended = threading.Event()

    def feed() -> None:
        start_s = time.monotonic()
        for index, frame in enumerate(itertools.cycle(frames)):
            if ended.wait(max(0.0, start_s + index / FPS - time.monotonic())):
                return
            task = FrameTask(picture=frame, index=index)
            task.output = frame.copy()
            stamp = int(time.time() * 1000) % 2**BITS
            for bit in range(BITS):
                level = 255 * (stamp >> (BITS - 1 - bit) & 1)
                task.output[:BIT_PX, bit * BIT_PX : (bit + 1) * BIT_PX] = level
            view(task)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def table(document: Mapping[str, Any]) -> str:
    """Return both parts as Markdown."""
    costs = [
        [
            name,
            f"{row['fps_alone']:.1f}",
            f"{row['fps_watched']:.1f}",
            f"{row['ratio']:.3f}",
            f"{row['viewer_fps']:.1f}",
        ]
        for name, row in document["costs"].items()
    ]
    titles = ["model, video", "frames/s alone", "with a viewer", "ratio", "the viewer's frames/s"]
    late = [
        [name, f"{row['p50_ms']:.0f} ms", f"{row['p95_ms']:.0f} ms", f"{row['fps']:.1f}"]
        for name, row in document["lateness"].items()
    ]
    shown = markdown_table(["way, limit of the link", "p50", "p95", "frames/s"], late)
    return f"{markdown_table(titles, costs)}\n\n{shown}"


@study(
    "view",
    files_option("--video", "videos", "Label video whose frames are translated."),
    files_option("--model", "models", "Bundle."),
    rounds_option(15),
    float_option("--seconds", 8, "Duration for each way to look."),
    table=table,
)
def main(
    *, videos: tuple[Path, ...], models: tuple[Path, ...], rounds: int, seconds: float, smoke: bool
) -> Document:
    """Measure what a viewer of the live page costs, and how late it sees the frames."""
    slice_s, seconds = (0.2, 0.5) if smoke else (1.0, seconds)
    costs: dict[str, Any] = {}
    shown: list[NDArray[np.uint8]] = []
    for video, model in itertools.product(videos, models):
        frames = read_frames(video)
        name = f"{model.stem}, {video.name}"
        costs[name] = measure_cost(model, frames, rounds=rounds, slice_s=slice_s)
        if not shown:
            with Translator.load(model, device="cpu", threads=1) as translate:
                shown = [translate(frame) for frame in frames[:30]]
    lateness = measure_lateness(shown, seconds=seconds)
    return {"costs": costs, "lateness": lateness, "fps": FPS, "link_bytes_s": LINK_BYTES_S}


if __name__ == "__main__":
    main()
