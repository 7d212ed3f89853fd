"""What hangs is interrupted, what fails is opened again, and neither goes on for ever."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from p2p_runtime.engines import UninterruptibleEngine
from p2p_runtime.engines.ort import OrtEngine
from p2p_runtime.engines.supervised import RESTARTS, SupervisedEngine
from p2p_runtime.errors import BundleError, EngineError
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.translate.translator import Translator

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

Image = NDArray[np.uint8]
FRAMES = np.zeros((1, 4, 4, 3), np.uint8)


class Flaky(UninterruptibleEngine):
    """Fails so often, then inverts; all that are opened count together."""

    device = "cpu"

    def __init__(self, failures: list[int]) -> None:
        self.failures, self.closed = failures, False

    def infer(self, frames: Image) -> Image:
        if self.failures[0]:
            self.failures[0] -= 1
            raise EngineError("hiccup")
        return 255 - frames

    def close(self) -> None:
        self.closed = True


def supervised(failures: int, **settings: object) -> tuple[SupervisedEngine, list[Flaky]]:
    """Supervise an engine that fails so often; return it, and all engines that were opened."""
    count = [failures]
    opened = [Flaky(count)]

    def reopen() -> Flaky:
        opened.append(Flaky(count))
        return opened[-1]

    return SupervisedEngine(opened[0], reopen, **settings), opened  # type: ignore[arg-type]  # each its own


def test_fault_55_what_fails_is_opened_again() -> None:
    """A frame survives two failures; the engines that failed are closed, and it is counted."""
    engine, opened = supervised(2)
    assert (engine.infer(FRAMES) == 255).all()
    assert [one.closed for one in opened] == [True, True, False]
    assert engine.restarts == 2
    engine.close()
    assert opened[-1].closed


def test_fault_55_what_keeps_failing_ends_the_run() -> None:
    """After five restarts within a minute the error is the user's."""
    engine, opened = supervised(1000)
    with pytest.raises(EngineError, match=r"hiccup \(after 5 restarts in 60 s\)"):
        engine.infer(FRAMES)
    assert len(opened) == 1 + RESTARTS
    engine.close()


def test_fault_55_failures_that_are_far_apart_never_end_it() -> None:
    """Only restarts of the last minute count."""
    now_s = [0.0]

    def clock() -> float:
        now_s[0] += 13  # five restarts take 65 s
        return now_s[0]

    engine, _ = supervised(50, clock=clock)
    assert (engine.infer(FRAMES) == 255).all()
    assert engine.restarts == 50
    engine.close()


def test_threads_that_fail_together_open_it_once() -> None:
    """The second thread finds the new engine."""
    meeting = threading.Barrier(2, timeout=30)

    class Failing(Flaky):
        def infer(self, frames: Image) -> Image:
            meeting.wait()
            raise EngineError("hiccup")

    engine = SupervisedEngine(Failing([0]), lambda: Flaky([0]))
    threads = [threading.Thread(target=engine.infer, args=(FRAMES,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.restarts == 1
    engine.close()


def test_what_cannot_be_opened_again_says_both() -> None:
    """The first failure and the second."""

    def reopen() -> Flaky:
        raise BundleError("gone")

    engine = SupervisedEngine(Flaky([1]), reopen)
    with pytest.raises(EngineError, match="hiccup; and it cannot be opened again: gone"):
        engine.infer(FRAMES)
    engine.close()


def test_a_closed_engine_is_not_opened_again() -> None:
    """What fails because the run ends is no reason to load the model."""
    engine, opened = supervised(1)
    engine.close()
    with pytest.raises(EngineError, match="hiccup"):
        engine.infer(FRAMES)
    assert len(opened) == 1


def endless() -> onnx.ModelProto:
    """A model that counts to 2**40 before it answers."""
    counting = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "counting",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
    )
    picture = ["batch", 64, 64, 3]
    graph = helper.make_graph(
        [
            helper.make_node("Loop", ["turns", "yes", "zero"], ["total"], body=counting),
            helper.make_node("Cast", ["frame"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["levels", "total"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["image"], to=TensorProto.UINT8),
        ],
        "endless",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, picture)],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, picture)],
        [
            numpy_helper.from_array(np.int64(1 << 40), "turns"),
            numpy_helper.from_array(np.bool_(True), "yes"),
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.float32(1), "one"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_fault_55_an_inference_that_hangs_is_interrupted(
    make_bundle: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Onnxruntime stops counting, and the next engine translates the same frame."""
    hanging = OrtEngine(ModelBundle.load(make_bundle("endless.onnx", endless())), threads=1)
    sound = OrtEngine(ModelBundle.load(make_bundle()), threads=1)
    engine = SupervisedEngine(hanging, lambda: sound, hang_s=0.2)
    with caplog.at_level(logging.WARNING):
        images = engine.infer(np.zeros((1, 64, 64, 3), np.uint8))
    assert (images == 255).all()
    assert "takes longer than 0.2 s" in caplog.text
    assert "terminate" in caplog.text
    engine.close()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets the engine of the next test go at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def test_fault_55_a_hang_that_cannot_be_interrupted_is_reported(release: threading.Event) -> None:
    """A driver that never comes back: whoever runs the process is asked to end it."""

    class Deaf(Flaky):
        def infer(self, frames: Image) -> Image:
            release.wait()
            return frames

    hangs = threading.Event()
    engine = SupervisedEngine(Deaf([0]), lambda: Flaky([0]), hang_s=0.05, on_hang=hangs.set)
    thread = threading.Thread(target=engine.infer, args=(FRAMES,), daemon=True)
    thread.start()
    assert hangs.wait(30)
    release.set()
    thread.join()
    engine.close()


def test_a_translator_restarts_its_engine_and_replays_the_golden_frame(bundle: Path) -> None:
    """After a failure the model is loaded and checked again, from the file."""
    with Translator.load(bundle, device="cpu", threads=1) as translate:
        translate.engine.interrupt()  # its inferences fail from now on
        assert (translate(np.zeros((64, 64, 3), np.uint8)) == 255).all()
        assert translate.engine.restarts == 1


def test_fault_82_a_watchdog_that_cannot_start_can_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error that is told is the one that happened."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    engine, _ = supervised(0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            engine.infer(FRAMES)
    engine.close()
