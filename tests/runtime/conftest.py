"""The fixtures of the runtime's tests."""

from __future__ import annotations

from toy_runtime import (  # noqa: F401
    bundle,
    contract,
    frames,
    lossless,
    make_bundle,
    model,
    no_thread_is_left,
    pictures,
    read_frames,
    save_video,
    video,
    wrong_golden,
)
