"""The public Python API: a frame in, its translation out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.engines import Engine, ServerOptions, resolve_device
from p2p_runtime.engines.supervised import SupervisedEngine, open_supervised
from p2p_runtime.labels.yuv import Picture
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.video.frames import FrameTask

from .constant_output import is_blank
from .discover import engine_named, find_bundle
from .picture import to_picture
from .preprocess import Preprocessor
from .workers import threads_per_worker

__all__ = ["Translator"]

_log = logging.getLogger(__name__)


class Translator:
    """Preprocesses a frame, runs the generator, and brings the image to the frame's size.

    For example::

        from PIL import Image
        from p2p_runtime import Translator

        with Translator.load() as translate:  # the newest export, else the bundled model
            photo = translate(label_frame)  # (H, W, 3) uint8 BGR in and out
            photo = translate(label_frame[..., ::-1], rgb=True)
            photo = translate(Image.open("label.png"))  # also with class ids:
            photo = translate(tags, ids="carla")  # (H, W) of the ids that --ids names

    The preprocessor admits the frames of a stream in order; then any thread may preprocess and
    finish them, in any order, and gets what one after the other would give.

    Attributes:
        contract, preprocessor: how frames become the generator's input, and what does that.
        engine: what runs the generator.
        bundle: the model file; None for a translator without one.
        workers: number of frames that may be in work at the same time; see :meth:`load`.
    """

    def __init__(
        self,
        contract: PixelContract,
        engine: Engine,
        *,
        bundle: ModelBundle | None = None,
        repair_labels: bool = True,
        dedupe_threshold_px: int | None = 0,
        workers: int = 1,
    ) -> None:
        self.contract = contract
        self.engine = engine
        self.bundle = bundle
        self.workers = workers
        self._new_preprocessor = partial(
            Preprocessor, contract,
            repair_labels=repair_labels, dedupe_threshold_px=dedupe_threshold_px,
        )  # fmt: skip
        self.reset()

    @classmethod
    def load(
        cls,
        path: str | Path | ModelBundle | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        allow_spinning: bool = True,
        repair_labels: bool = True,
        verify: bool = True,
        dedupe_threshold_px: int | None = 0,
        workers: int = 1,
        server: ServerOptions | None = None,
        on_hang: Callable[[], None] | None = None,
    ) -> Translator:
        """Check a model file, open it on a device, and replay its golden frame there.

        Args:
            path: a bundle, ``model-<precision>.onnx``, a TensorRT engine beside one, or a folder
                of bundles; None for the newest export under ``runs``, else the bundled model.
            device: ``auto``, ``cpu``, ``cuda``, ``tensorrt``, or ``oip://host:8000/model`` for a
                model server; ``path`` is then the bundle that it serves.
            threads: CPU threads; None for all cores.
            allow_spinning: let idle threads spin; switch it off for paced streams.
            repair_labels: repair label maps, see :mod:`p2p_runtime.labels.repair`.
            verify: replay the golden frame, which is the warm-up, too.
            dedupe_threshold_px: a frame whose input differs from the last translated one in at
                most so many pixels gets that one's image; 0 is lossless, None translates all.
            workers: number of frames that may be in work at the same time, on a CPU. They share
                the threads: more frames a second, and each takes longer. For files.
            server: time limits and token for a model server; None for the defaults.
            on_hang: called when an inference hangs that nothing in this process can end.

        Raises:
            BundleError: the file is missing, damaged or unsafe, or this device does not compute
                from it what the exporting machine did.
            DeviceUnavailableError: the device is not there.
            ServerError: the model server does not answer.
            ConfigError: there are no workers or threads, or less memory than a frame takes.
        """
        named = None if path is None or isinstance(path, ModelBundle) else str(path)
        device = resolve_device(
            device,
            engine_path=path.engine_path if isinstance(path, ModelBundle) else engine_named(named),
        )
        bundle = (
            path if isinstance(path, ModelBundle) else ModelBundle.load(find_bundle(named, device))
        )
        if bundle.licence is not None:
            _log.info("weights: %s", bundle.licence)
        engine = open_supervised(
            bundle,
            device,
            threads=threads_per_worker(workers, threads),
            allow_spinning=allow_spinning,
            verify=verify,
            server=server,
            on_hang=on_hang,
        )
        return cls(
            bundle.contract,
            engine,
            bundle=bundle,
            repair_labels=repair_labels,
            dedupe_threshold_px=dedupe_threshold_px,
            workers=workers,
        )

    def __call__(
        self, frame: object, *, rgb: bool = False, ids: str | None = None
    ) -> NDArray[np.uint8]:
        """Translate a picture of any size and return one of its size, (H, W, 3) uint8 BGR.

        Args:
            frame: (H, W, 3) uint8, a picture of Pillow, or class ids (H, W) with ``ids``.
            rgb: the colours of an array are in the order RGB, not BGR.
            ids: the numbering of class ids, as ``--ids`` takes it.

        Raises:
            ContractError: it is no such picture; the message says what to give.
            ConfigError: there is no such numbering.
            EngineError: the device failed.
        """
        return self.translate(to_picture(frame, self.contract, rgb=rgb, ids=ids)).image

    def translate(self, frame: Picture) -> FrameTask:
        """Translate a frame as a call does, and return all that is known of it, times included."""
        task = FrameTask(picture=frame)
        self.preprocessor.admit(task)
        self.finish(task)
        return task

    def finish(self, task: FrameTask) -> None:
        """Fill in the input, output and times of a frame that was admitted; in any thread.

        Raises:
            EngineError: the device failed.
        """
        self.preprocessor.complete(task)
        assert task.input is not None, "it was completed"
        input_s = time.perf_counter()
        image = task.input.image(self.engine.infer)
        task.blank = is_blank(task.input.pixels, image)
        inferred_s = time.perf_counter()
        output = self.contract.postprocess(image, *task.picture.shape[:2])
        # An image of the frame's size is not resized; others may share it, so it is copied.
        task.output = image.copy() if output is image else output
        task.finished_s = time.perf_counter()
        work_ms = task.times_ms["preprocess"] + task.times_ms.get("check", 0.0)
        task.times_ms["wait"] = (input_s - task.decoded_s) * 1e3 - work_ms
        task.times_ms["infer"] = (inferred_s - input_s) * 1e3
        task.times_ms["postprocess"] = (task.finished_s - inferred_s) * 1e3

    def reset(self) -> None:
        """Forget the frames so far, because another video begins."""
        self.preprocessor = self._new_preprocessor()

    def stop(self) -> None:
        """End inferences that take longer than a moment, since the run is over."""
        if isinstance(self.engine, SupervisedEngine):
            self.engine.stop()

    def close(self) -> None:
        """Free the device."""
        self.engine.close()

    def __enter__(self) -> Translator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
