"""The public Python API: a frame in, its translation out.

Example::

    from p2p_runtime.translate.translator import Translator

    with Translator.load("model-int8.onnx") as translate:
        photo = translate(label_frame)  # (H, W, 3) uint8 BGR in and out
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from p2p_runtime.engines import Engine, open_engine
from p2p_runtime.engines.supervised import SupervisedEngine
from p2p_runtime.errors import BundleError
from p2p_runtime.model.bundle import GoldenFrame, ModelBundle

from .constant_output import is_blank
from .preprocess import Preprocessor
from .reuse import Reuse
from .task import Begun
from .workers import threads_of_a_lane

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from p2p_runtime.labels.yuv import Picture
    from p2p_runtime.model.contract import PixelContract

__all__ = ["Begun", "Translation", "Translator"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Translation:
    """A translated frame and what it took.

    Attributes:
        image: (H, W, 3) uint8 BGR, of the source frame's size.
        fit_ms, infer_ms, restore_ms: time of each stage in milliseconds.
        fitted_s: ``time.perf_counter()`` when its input was known.
        reused: whether the image is that of an earlier frame with the same input.
        blank: whether the image has one colour and its input several, see ``blank``.
    """

    image: NDArray[np.uint8]
    fit_ms: float
    infer_ms: float
    restore_ms: float
    fitted_s: float
    reused: bool
    blank: bool


class Translator:
    """Fits a frame to the contract, runs the generator, and restores the frame's size.

    Attributes:
        contract: how frames become the generator's input.
        engine: what runs the generator.
        bundle: the model file; None for a translator that was put together by hand.
        fitter: what fits frames to the contract.
        lanes: how many frames may be in work at the same time; see :meth:`load`.
    """

    def __init__(
        self,
        contract: PixelContract,
        engine: Engine,
        *,
        snap: bool = True,
        bundle: ModelBundle | None = None,
        vote: int = 1,
        reuse: int | None = 0,
        lanes: int = 1,
    ) -> None:
        self.contract = contract
        self.engine = engine
        self.fitter = Preprocessor(contract, snap=snap, vote=vote)
        self.bundle = bundle
        self.lanes = lanes
        self._reuse = Reuse(reuse)
        self._last: Begun | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        spinning: bool = True,
        snap: bool = True,
        vote: int = 1,
        verify: bool = True,
        reuse: int | None = 0,
        lanes: int = 1,
        stuck: Callable[[], None] | None = None,
    ) -> Translator:
        """Check a model file, open it on a device, and replay its golden frame there.

        Args:
            path: a bundle, ``model-<precision>.onnx``, or a TensorRT engine beside one.
            device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
            threads: CPU threads; None for all cores.
            spinning: let idle threads spin; switch it off for paced streams.
            snap: repair label maps, see :mod:`p2p_runtime.labels.repair`.
            vote: of how many label frames the most frequent class of each pixel is taken.
            verify: replay the golden frame. This is the warm-up, too.
            reuse: a frame whose fitted input differs from the last translated one in at most so
                many pixels gets that one's image; 0 loses nothing, None translates every frame.
            lanes: how many frames may be in work at the same time, on a CPU. The threads are
                shared out among them: more frames a second, and each takes longer. For files.
            stuck: called when an inference hangs that nothing can interrupt, see
                :class:`p2p_runtime.engines.supervised.SupervisedEngine`.

        Raises:
            BundleError: the file is missing, damaged or unsafe, or this device does not compute
                from it what the exporting machine did.
            DeviceUnavailableError: the device is not there.
        """
        bundle = ModelBundle.load(path)

        def opened() -> Engine:
            engine = open_engine(bundle, device, threads_of_a_lane(lanes, threads), spinning)
            if verify:
                _replay_golden(bundle, engine)
            return engine

        guarded = SupervisedEngine(opened(), opened, stuck=stuck)
        return cls(
            bundle.contract, guarded, snap=snap, vote=vote, bundle=bundle, reuse=reuse, lanes=lanes
        )

    def __call__(self, frame: Picture) -> NDArray[np.uint8]:
        """Translate a frame: (H, W, 3) uint8 BGR of any size, or planes, in; BGR of its size out.

        Raises:
            ContractError: it is not such a frame.
            EngineError: the device failed.
        """
        return self.translate(frame).image

    def translate(self, frame: Picture) -> Translation:
        """Translate a frame as a call does, and say how long each stage took."""
        return self.finish(self.begin(frame))

    def begin(self, frame: Picture) -> Begun:
        """Take the next frame: frames come in their order here, and nothing takes long.

        Raises:
            ContractError: it is not (H, W, 3) uint8.
        """
        self._last = Begun(frame, self.fitter.look(frame), self.fitter, self._reuse, self._last)
        return self._last

    def finish(self, begun: Begun) -> Translation:
        """Fit a frame, run the generator if need be, restore the size; in any thread."""
        settled = begun.settle()
        fitted_s = time.perf_counter()
        image = settled.answer.image(self.engine.infer)
        blank = is_blank(settled.answer.fitted, image)
        inferred_s = time.perf_counter()
        restored = self.contract.postprocess(image, *begun.frame.shape[:2])
        if restored is image:
            restored = image.copy()  # it may be asked for again, and this one is the caller's
        return Translation(
            image=restored,
            fit_ms=settled.fit_ms,
            infer_ms=(inferred_s - fitted_s) * 1e3,
            restore_ms=(time.perf_counter() - inferred_s) * 1e3,
            fitted_s=fitted_s,
            reused=settled.reused,
            blank=blank,
        )

    def close(self) -> None:
        """Free the device."""
        self.engine.close()

    def __enter__(self) -> Translator:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _replay_golden(bundle: ModelBundle, engine: Engine) -> None:
    """Compare what this device makes of the golden frame with what the exporter's made of it."""
    golden = bundle.info.golden
    frame = GoldenFrame.draw(bundle.contract, golden.seed)
    psnr_db = golden.psnr_db(engine.infer(frame[np.newaxis])[0])
    # Written so that a NaN floor or result fails, too.
    if not psnr_db >= golden.min_psnr_db:
        engine.close()
        raise BundleError(
            f"{bundle.path} does not compute on {engine.device} what was exported: its golden "
            f"frame came out at {psnr_db:.1f} dB, at least {golden.min_psnr_db:.1f} are needed"
        )
