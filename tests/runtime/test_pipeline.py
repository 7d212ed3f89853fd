"""The run: same pixels as the Python API, in order, with honest figures."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.errors import EngineError, LossesError, SinkError, SourceError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.pipeline import check_losses, frames_in_a_row, run_pipeline
from p2p_runtime.translate.report import STAGES, Histogram, Recorder, RunReport
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameSink, FrameTask, VideoInfo
from toy_runtime import Inverter

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

Image = NDArray[np.uint8]


class Source:
    """Gives pictures, then perhaps fails."""

    def __init__(self, images: list[Image], error: Exception | None = None, lost: int = 0) -> None:
        self.images, self.error, self.frames_lost = images, error, lost
        height, width = images[0].shape[:2]
        self.info = VideoInfo(width=width, height=height, fps=10, frame_count=len(images))

    def __iter__(self) -> Iterator[FrameTask]:
        for index, image in enumerate(self.images):
            yield FrameTask(picture=image, index=index, timestamp_s=index / 10, name=f"f{index}")
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Nothing to free."""


class Sink(FrameSink):
    """Remembers frames; can refuse one."""

    def __init__(self, refuse: int | None = None) -> None:
        self.frames: list[FrameTask] = []
        self.ended: list[str] = []
        self.refuse = refuse

    def write(self, task: FrameTask) -> None:
        """Remember a frame."""
        if task.index == self.refuse:
            raise SinkError("full")
        self.frames.append(task)

    def close(self) -> None:
        """Remember how it ended."""
        self.ended.append("close")

    def abort(self) -> None:
        """Remember how it ended."""
        self.ended.append("abort")


class Failing(Inverter):
    """An engine that fails after some frames."""

    def __init__(self, after: int) -> None:
        self.left = after

    def infer(self, frames: Image) -> Image:
        self.left -= 1
        if self.left < 0:
            raise EngineError("the device fell off")
        return super().infer(frames)


@pytest.fixture
def translator(contract: PixelContract) -> Translator:
    """A translator around the fake engine."""
    return Translator(contract, Inverter())


def test_every_frame_equals_the_translators(frames: list[Image], translator: Translator) -> None:
    """A run gives, in order and by name, what calls of the translator give."""
    sink = Sink()
    report = run_pipeline(Source(frames), translator, sink)
    np.testing.assert_array_equal(
        [frame.image for frame in sink.frames], [translator(frame) for frame in frames]
    )
    assert [frame.name for frame in sink.frames] == [f"f{index}" for index in range(20)]
    assert (report.frames_in, report.frames_out, report.frames_lost) == (20, 20, 0)
    assert sink.ended == ["close"]


def test_side_by_side_puts_the_repaired_input_left(
    frames: list[Image], translator: Translator
) -> None:
    """Left is the input in exact palette colours, right the translation, at the source's height."""
    blurred = np.clip(frames[0].astype(int) + 5, 0, 255).astype(np.uint8)
    sink = Sink()
    run_pipeline(Source([blurred]), translator, sink, side_by_side=True)
    image = sink.frames[0].image
    np.testing.assert_array_equal(image[:, :64], frames[0])
    np.testing.assert_array_equal(image[:, 64:], translator(blurred))


def test_max_frames_stops_early(frames: list[Image], translator: Translator) -> None:
    """Only so many frames are read and written."""
    sink = Sink()
    report = run_pipeline(Source(frames), translator, sink, max_frames=3)
    assert (len(sink.frames), report.frames_in) == (3, 3)


@pytest.mark.parametrize(
    ("error", "engine", "refuse", "kept", "raised"),
    [
        (SourceError("cable"), Inverter(), None, 20, SourceError("cable")),
        (None, Failing(after=7), None, 7, EngineError("fell off")),
        (None, Inverter(), 5, 5, SinkError("full")),
    ],
    ids=["source", "engine", "sink"],
)
def test_what_fails_keeps_what_came_before(
    frames: list[Image], contract: PixelContract, error: Exception | None, engine: Inverter,
    refuse: int | None, kept: int, raised: Exception,
) -> None:  # fmt: skip
    """The frames before the failure are written, the threads end, and the error is raised."""
    sink = Sink(refuse=refuse)
    with pytest.raises(type(raised), match=str(raised)):
        run_pipeline(Source(frames, error=error), Translator(contract, engine), sink)
    assert (len(sink.frames), sink.ended) == (kept, ["abort"])


def test_stopping_finishes_the_sink(frames: list[Image], translator: Translator) -> None:
    """Asked to stop, a run closes its sink properly and reports what it did."""
    sink = Sink()
    report = run_pipeline(Source(frames), translator, sink, stopping=lambda: len(sink.frames) >= 4)
    assert (report.frames_out, report.interrupted, sink.ended) == (4, True, ["close"])


def test_on_frame_sees_what_was_written(frames: list[Image], translator: Translator) -> None:
    """The callback gets each written frame in the calling thread."""
    seen: list[tuple[int, threading.Thread]] = []
    run_pipeline(
        Source(frames),
        translator,
        Sink(),
        on_frame=lambda frame: seen.append((frame.index, threading.current_thread())),
    )
    assert seen == [(index, threading.main_thread()) for index in range(20)]


def test_fault_62_colours_of_the_palette_are_not_off_it(
    frames: list[Image], translator: Translator
) -> None:
    """A clean label video is 0 % off."""
    report = run_pipeline(Source(frames), translator, Sink())
    assert report.off_palette_share == 0
    check_losses(report, strict=True)


def test_fault_63_unknown_colours_warn_and_fail_under_strict(
    frames: list[Image], translator: Translator, caplog: pytest.LogCaptureFixture
) -> None:
    """A video in other colours is told, and is a loss under --strict."""
    green = np.full((48, 64, 3), (0, 255, 0), np.uint8)
    report = run_pipeline(Source([green]), translator, Sink())
    assert report.off_palette_share == 1
    with caplog.at_level(logging.WARNING):
        check_losses(report, strict=False)
    assert "100% of the pixels are far from every palette colour" in caplog.text
    with pytest.raises(LossesError, match="palette colour"):
        check_losses(report, strict=True)


def test_large_frames_are_not_decoded_in_long_rows() -> None:
    """A row of them would take hundreds of megabytes."""
    sizes = [(64, 48), (480, 360), (640, 480), (1280, 720), (3840, 2160)]
    videos = [VideoInfo(width=w, height=h, fps=10, frame_count=None) for w, h in sizes]
    assert [frames_in_a_row(video) for video in videos] == [12, 12, 6, 2, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_fourth_frame_is_measured_for_its_colours(
    frames: list[Image], contract: PixelContract, workers: int
) -> None:
    """The first among them; whichever worker it has."""
    green = np.full((48, 64, 3), (0, 255, 0), np.uint8)
    film = [green, frames[1], green, frames[3], frames[4], green]
    report = run_pipeline(Source(film), Translator(contract, Inverter(), workers=workers), Sink())
    assert report.off_palette_share == 0.5


def test_fault_59_lost_frames_fail_under_strict(
    frames: list[Image], translator: Translator
) -> None:
    """Frames that the source lost are reported, and are a loss under --strict."""
    report = run_pipeline(Source(frames, lost=3), translator, Sink())
    check_losses(report, strict=False)
    with pytest.raises(LossesError, match="3 frames could not be read") as caught:
        check_losses(report, strict=True)
    assert caught.value.exit_code == 5


def test_fault_54_blank_images_are_a_loss_under_strict(
    frames: list[Image], contract: PixelContract
) -> None:
    """A device that answers with black is counted, and --strict fails."""

    class Black(Inverter):
        def infer(self, frames: Image) -> Image:
            return frames * 0

    report = run_pipeline(Source(frames), Translator(contract, Black()), Sink())
    assert report.frames_blank == 20
    with pytest.raises(LossesError, match="20 images of a single colour"):
        check_losses(report, strict=True)


def test_a_model_without_a_palette_has_no_off_palette_share(
    frames: list[Image], contract: PixelContract
) -> None:
    """Nothing is repaired or measured where there is no palette."""
    plain = Translator(replace(contract, palette=None), Inverter())
    report = run_pipeline(Source(frames[:2]), plain, Sink(), side_by_side=True)
    assert report.off_palette_share is None


def test_the_report_is_json_and_a_table(
    frames: list[Image], translator: Translator, tmp_path: Path
) -> None:
    """Both forms hold every stage and the counters."""
    report = run_pipeline(Source(frames), translator, Sink(), run={"source": "x.mp4"})
    report.save(tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["schema"] == 2
    assert sorted(document["stages"]) == sorted(STAGES)
    assert all(row["count"] == 20 for row in document["stages"].values())
    assert document["run"]["device"] == "cpu"
    assert document["run"]["source"] == "x.mp4"
    assert document["peak_rss_mib"] > (document["anon_rss_mib"] or 1) >= 1
    assert document["first_frame_s"] > 0
    assert [line.split()[0] for line in report.to_table().splitlines()[1:9]] == list(STAGES)


def test_the_stages_add_up_to_the_latency(frames: list[Image], contract: PixelContract) -> None:
    """Nothing that a frame waits for is left out of the report, with one worker or two."""

    class Slow(Inverter):
        def infer(self, frames: Image) -> Image:
            time.sleep(0.004)
            return super().infer(frames)

    for workers in (1, 2):
        report = run_pipeline(Source(frames), Translator(contract, Slow(), workers=workers), Sink())
        means = {stage: row["mean_ms"] for stage, row in report.stages.items()}
        whole = means.pop("latency")
        assert sum(means.values()) - means["decode"] == pytest.approx(whole, rel=0.05)


def test_workers_change_no_pixel(frames: list[Image], contract: PixelContract) -> None:
    """Two frames in work at a time give what one gives, in order; reused ones are counted."""
    still = [frame for frame in frames for _ in range(2)]
    sinks = [Sink(), Sink()]
    for workers, sink in enumerate(sinks, start=1):
        translator = Translator(contract, Inverter(), workers=workers)
        report = run_pipeline(Source(still), translator, sink, side_by_side=True)
        assert (report.frames_out, report.frames_reused) == (40, 20)
        assert report.run["workers"] == workers
    for one, two in zip(sinks[0].frames, sinks[1].frames, strict=True):
        assert one.index == two.index
        np.testing.assert_array_equal(one.image, two.image)


def test_percentiles_are_within_one_per_cent() -> None:
    """The histogram's percentiles agree with the exact ones over six decades."""
    durations_ms = np.exp(np.random.default_rng(0).uniform(np.log(0.01), np.log(1e4), 5000))
    histogram = Histogram()
    for ms in durations_ms:
        histogram.add(float(ms))
    for percent in (50, 95, 99, 100):
        exact = float(np.percentile(durations_ms, percent, method="inverted_cdf"))
        assert histogram.percentile_ms(percent) == pytest.approx(exact, rel=0.01)


def test_an_empty_histogram_is_zero() -> None:
    """A stage that never ran has no made-up figures, and out-of-range times are counted."""
    histogram = Histogram()
    assert histogram.percentile_ms(99) == 0
    for ms in (0.0, -1.0, 1e12):
        histogram.add(ms)
    assert histogram.to_json()["count"] == 3


def test_a_run_without_frames_reports_zero() -> None:
    """No division by nothing."""
    source = Source([np.zeros((1, 1, 3), np.uint8)])
    report = Recorder().finish(source, None, interrupted=True, run={})
    assert isinstance(report, RunReport)
    assert (report.frames_out, report.first_frame_s) == (0, None)
    assert report.to_line() == "nothing was written: no frame was translated"


def test_a_folder_of_pictures_survives_the_whole_way(
    bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    """Files in, files out: same stems, and each pixel is what the translator gives."""
    from p2p_runtime.video.sinks import open_sink
    from p2p_runtime.video.sources import open_source

    source = open_source(str(pictures))
    sink = open_sink(tmp_path / "photos", VideoInfo(width=64, height=48, fps=source.info.fps))
    with Translator.load(bundle, device="cpu") as translate:
        run_pipeline(source, translate, sink)
        for path in sorted(pictures.iterdir()):
            written = np.frombuffer((tmp_path / "photos" / path.name).read_bytes(), np.uint8)
            frame = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            np.testing.assert_array_equal(
                cv2.imdecode(written, cv2.IMREAD_COLOR), translate(np.asarray(frame, np.uint8))
            )
