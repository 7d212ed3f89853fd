"""A frame's way from source to sink: one task, and no wrapper round it."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from p2p_runtime.labels.yuv import YuvFrame
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.pipeline import run_pipeline
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameInput, FrameSource, FrameTask
from p2p_runtime.video.sinks import NullSink
from p2p_runtime.video.sources import open_source
from toy_runtime import Inverter

FRAMES = 20


@contextmanager
def counting_objects() -> Iterator[Counter[type]]:
    """Count the objects of the device's types that are made in the block, in all threads."""
    made: Counter[type] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or frame.f_code.co_name not in ("__init__", "__new__"):
            return
        first = frame.f_locals.get("self", frame.f_locals.get("_cls"))
        kind = first if isinstance(first, type) else type(first)
        if kind.__module__.startswith("p2p_runtime."):
            made[kind] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield made
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def types_of_a_frame(source: FrameSource, contract: PixelContract) -> set[type]:
    """Return the types of which a run makes an object a frame, but for the arithmetic's own."""
    translator = Translator(contract, Inverter(), workers=2, dedupe_threshold_px=None)
    with counting_objects() as made:
        report = run_pipeline(source, translator, NullSink(), side_by_side=True)
    assert report.frames_out == FRAMES
    each_frame = {kind for kind, count in made.items() if count >= FRAMES}
    arithmetic = ("p2p_runtime.labels.", "p2p_runtime.model.")
    return {t for t in each_frame if t is YuvFrame or not t.__module__.startswith(arithmetic)}


def test_a_frame_passes_through_three_types(video: Path, contract: PixelContract) -> None:
    """The task, the decoder's picture, and the generator's input with its image."""
    found = types_of_a_frame(open_source(str(video), yuv=True), contract)
    assert found == {FrameTask, YuvFrame, FrameInput}


def test_a_wrapper_would_be_noticed(video: Path, contract: PixelContract) -> None:
    """The count finds any object that a stage makes for each frame."""

    @dataclass
    class Wrapped:
        task: FrameTask

    Wrapped.__module__ = "p2p_runtime.translate.anything"

    class Wrapping:
        def __init__(self, source: FrameSource) -> None:
            self.source, self.info, self.frames_lost = source, source.info, 0

        def __iter__(self) -> Iterator[FrameTask]:
            for task in self.source:
                yield Wrapped(task).task

        def close(self) -> None:
            self.source.close()

    found = types_of_a_frame(Wrapping(open_source(str(video), yuv=True)), contract)
    assert Wrapped in found


@pytest.mark.usefixtures("no_thread_is_left")
def test_the_task_of_the_source_reaches_the_sink(video: Path, contract: PixelContract) -> None:
    """The object that the decoder made is the one that the encoder gets."""
    born: list[FrameTask] = []
    written: list[FrameTask] = []
    source = open_source(str(video))

    class Watching:
        info, frames_lost = source.info, 0

        def __iter__(self) -> Iterator[FrameTask]:
            for task in source:
                born.append(task)
                yield task

        def close(self) -> None:
            source.close()

    class Sink(NullSink):
        def write(self, task: FrameTask) -> None:
            written.append(task)

    run_pipeline(Watching(), Translator(contract, Inverter()), Sink())
    assert len(born) == FRAMES
    assert all(task is other for task, other in zip(born, written, strict=True))
