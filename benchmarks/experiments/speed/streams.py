"""``python -m experiments.speed.streams``: many cameras in one process, or in a process each.

Cameras send MPEG-TS over TCP, paced by their frame rate, once all are connected. One of them is
away for a fifth of the time.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from experiments.harness import Document, float_option, input_option, markdown_table, study
from p2p_bench.files import read_frames
from p2p_runtime.errors import P2PError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main", "measure_streams", "table"]

AWAY = (0.4, 0.6)
"""Begin and end of the outage of the first camera, as shares of the duration."""


class Camera(threading.Thread):
    """A server for one client at a time; the thread begins with the object."""

    def __init__(self, parts: Sequence[bytes], fps: float, go: threading.Event) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.socket.getsockname()[1]}"
        self.parts, self.fps, self.go, self.clients, self.away = parts, fps, go, 0, False
        self.start()

    def run(self) -> None:
        """Send a frame whenever it is due, from a key frame on, until the client has gone."""
        while True:
            client, _ = self.socket.accept()
            self.clients += 1
            self.go.wait()
            began_s = time.perf_counter()
            with client:
                for number, part in enumerate(itertools.cycle(self.parts)):
                    time.sleep(max(0.0, began_s + number / self.fps - time.perf_counter()))
                    try:
                        client.sendall(part)
                    except OSError:
                        break
                    if self.away:
                        break


def measure_streams(
    model: Path, parts: Sequence[bytes], *, count: int, fps: float, seconds: float, together: bool
) -> dict[str, float]:
    """Translate so many cameras, in one process if ``together``, and return the figures.

    Args:
        model, parts: the bundle, and MPEG-TS by frame, sent in a loop.
        count, fps, seconds: number of cameras, their frames a second, and the duration.
        together: in one process.

    Returns:
        ``translated_fps``, of all; ``fewest`` and ``most`` frames translated of a camera, the one
        that was away left out; ``dropped``, share (0-1) of the frames that came; ``p50_ms`` and
        ``p95_ms``, the worst of all from decoder to output; ``cores``, CPU seconds a second;
        ``mib``, memory of all processes, shared pages counted once; ``reconnects``.
    """
    go = threading.Event()
    cameras = [Camera(parts, fps, go) for _ in range(count)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        common = ["--model", str(model), "--stall-timeout", "300"]
        sources = [["--video", one.url, "--output", "null:"] for one in cameras]
        if together:
            text = "".join(
                f'[[stream]]\nname = "{number}"\nvideo = "{one.url}"\noutput = "null:"\n'
                for number, one in enumerate(cameras)
            )
            (folder / "streams.toml").write_text(text, encoding="utf-8")
            sources = [["--streams", str(folder / "streams.toml")]]
        reports = [folder / f"{number}.json" for number in range(len(sources))]
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "p2p_runtime.cli", *source, *common, "--report", str(path)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for source, path in zip(sources, reports, strict=True)
        ]  # fmt: skip
        while not all(one.clients for one in cameras):
            if any(process.poll() is not None for process in running):
                raise P2PError("p2p-run ended before its camera was open")
            time.sleep(0.1)
        go.set()
        before_s, began_s = sum(map(_cpu_s, running)), time.perf_counter()
        for share, cameras[0].away in ((AWAY[0], False), (AWAY[1], True), (1.0, False)):
            time.sleep(max(0.0, began_s + share * seconds - time.perf_counter()))
        cores = (sum(map(_cpu_s, running)) - before_s) / (time.perf_counter() - began_s)
        mib = sum(map(_mib, running))
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.wait()
        found = [json.loads(path.read_text(encoding="utf-8")) for path in reports]
    runs = [one["report"] for one in found[0]["streams"]] if together else found
    frames, whole = sum(run["frames_in"] for run in runs), [run["frames_out"] for run in runs[1:]]
    latencies = [run["stages"]["latency"] for run in runs]
    return {
        "translated_fps": sum(run["frames_out"] for run in runs) / seconds,
        "fewest": min(whole),
        "most": max(whole),
        "dropped": sum(run["frames_dropped"] for run in runs) / frames,
        "p50_ms": max(one["p50_ms"] for one in latencies),
        "p95_ms": max(one["p95_ms"] for one in latencies),
        "cores": cores,
        "mib": mib,
        "reconnects": runs[0]["reconnects"],
    }


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
    return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")  # of user and system


def _mib(process: subprocess.Popen[bytes]) -> float:
    """Return the process's memory, of shared pages its share."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in rollup.splitlines() if "Pss:" in line)


def encode_parts(frames: Sequence[NDArray[np.uint8]], fps: float) -> list[bytes]:
    """Return MPEG-TS of frames (H, W, 3) uint8 BGR, by frame; the first is a key frame."""
    buffer = io.BytesIO()
    parts: list[bytes] = []
    with av.open(buffer, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        stream = container.add_stream("libx264", rate=round(fps))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.gop_size = "yuv420p", len(frames)
        stream.options = {"tune": "zerolatency", "crf": "18"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
            parts.append(buffer.getvalue()[len(b"".join(parts)) :])
    return parts


def table(document: Mapping[str, Any]) -> str:
    """Return a result as Markdown, a row per frame rate and way."""
    rows = [
        [
            name,
            f"{row['translated_fps']:.0f}",
            f"{row['dropped']:.1%}",
            f"{row['fewest']:.0f} to {row['most']:.0f}",
            f"{row['p50_ms']:.0f} ms",
            f"{row['p95_ms']:.0f} ms",
            f"{row['cores']:.2f}",
            f"{row['mib']:.0f} MiB",
        ]
        for name, row in document["runs"].items()
    ]
    titles = [
        "cameras", "frames/s", "dropped", "frames of a camera", "p50", "p95", "cores", "memory",
    ]  # fmt: skip
    return markdown_table(titles, rows)


@study(
    "streams",
    input_option("--video", "Label video that the cameras send."),
    input_option("--model", "Bundle."),
    float_option("--seconds", 40, "Duration for each way and frame rate."),
    table=table,
)
def main(*, video: Path, model: Path, seconds: float, smoke: bool) -> Document:
    """Measure latency, drops, CPU time and memory of cameras in one process and in one each."""
    count, seconds = (2, 3.0) if smoke else (12, seconds)
    frames, runs = read_frames(video)[: 10 if smoke else 50], {}
    for fps, together in itertools.product((10.0,) if smoke else (10.0, 30.0), (True, False)):
        name = f"{count} at {fps:.0f}/s, {'one process' if together else f'{count} processes'}"
        runs[name] = measure_streams(
            model, encode_parts(frames, fps), count=count, fps=fps, seconds=seconds,
            together=together,
        )  # fmt: skip
    return {"seconds": seconds, "runs": runs}


if __name__ == "__main__":
    main()
