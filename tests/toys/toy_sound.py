"""Tiny videos with sound."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from toy_runtime import label_frame


def write_with_sound(
    path: Path, codec: str = "aac", *, tracks: int = 1, start_s: float = 0, frames: int = 50
) -> Path:
    """Write frames, 25 a second, and as many seconds of a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream(codec, rate=48_000) for _ in range(tracks)]
        for sound in sounds:
            sound.codec_context.open()
        resamplers = [
            av.AudioResampler(
                format=sound.codec_context.format,
                layout="stereo",
                rate=48_000,
                frame_size=sound.codec_context.frame_size or None,
            )
            for sound in sounds
        ]
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(label_frame(index), format="bgr24")
            frame.pts = index + round(start_s * 25)
            container.mux(video.encode(frame))
            tone = np.sin(np.arange(index * 1920, (index + 1) * 1920) * 0.06) * 8000
            for sound, resampler in zip(sounds, resamplers, strict=True):
                samples = np.repeat(tone.astype(np.int16), 2)[np.newaxis]
                piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
                piece.sample_rate, piece.pts = 48_000, index * 1920 + round(start_s * 48_000)
                for part in resampler.resample(piece):
                    container.mux(sound.encode(part))
        container.mux(video.encode())
        for sound in sounds:
            container.mux(sound.encode())
    return path
