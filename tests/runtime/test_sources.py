"""Sources: what is read, and what is refused."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from fractions import Fraction
from numbers import Rational
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError, SourceError, SourceLostError
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.video.live import LivePolicy
from p2p_runtime.video.sources import SourceKind, decode, open_source, parse_source, videofile
from p2p_runtime.video.sources.captures import NetworkCapture
from p2p_runtime.video.sources.decode import open_container
from p2p_runtime.video.sources.decoder import VideoDecoder

Image = NDArray[np.uint8]


def test_a_lossless_video_is_read_exactly(lossless: Path, frames: list[Image]) -> None:
    """Every pixel, index and time of the file arrives."""
    source = open_source(str(lossless))
    read = list(source)
    np.testing.assert_array_equal([frame.image for frame in read], frames)
    assert [frame.index for frame in read] == list(range(20))
    assert [frame.timestamp_s for frame in read] == pytest.approx([i / 10 for i in range(20)])
    assert (source.info.width, source.info.height, source.info.fps) == (64, 48, 10)
    assert source.frames_lost == 0
    source.close()


def test_fault_141_metadata_that_are_not_utf8_are_no_error(lossless: Path) -> None:
    """Whatever the PyAV, such a video is read, as each version has its own default."""
    stored = lossless.read_bytes()
    assert b"Lavf" in stored  # the name of the muxer, which is metadata
    lossless.write_bytes(stored.replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    source = open_source(str(lossless))
    assert len(list(source)) == 20
    source.close()


@pytest.mark.parametrize("known", [True, False])
def test_fault_141_pyav_is_asked_for_what_its_version_knows(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 19 has no argument for metadata that are not UTF-8."""
    asked: dict[str, object] = {}
    stand_in = SimpleNamespace(**({"metadata_errors": "strict"} if known else {}))
    monkeypatch.setattr(decode, "Container", stand_in)
    monkeypatch.setattr(av, "open", lambda name, **given: asked.update(given))
    decode.open_container("/video.mp4", {})
    assert ("metadata_errors" in asked) is known
    assert "options" not in asked  # with them, PyAV up to 17.0 crashes on MPEG-TS in RTSP


@Rational.register
class Ratio:
    """A number with no more than its two halves, as PyAV 19 states it."""

    numerator, denominator = 1, 25


def test_fault_141_pyav_may_state_times_in_a_number_of_its_own() -> None:
    """Versions up to 18 state a Fraction, which can do more."""
    context = SimpleNamespace(width=64, height=48, name="h264")
    stream: Any = SimpleNamespace(time_base=Ratio(), codec_context=context)
    file = SimpleNamespace(name="avi", flags=0)
    container: Any = SimpleNamespace(streams=SimpleNamespace(video=[stream], audio=[]), format=file)
    assert VideoDecoder("video.avi", container, fps=25).end_s == 1 / 25  # one frame's


@pytest.mark.parametrize(("limit_px", "kind"), [(64 * 48, "SLICE"), (64, "AUTO")])
def test_small_frames_are_decoded_in_one_thread(
    video: Path, monkeypatch: pytest.MonkeyPatch, limit_px: int, kind: str
) -> None:
    """Larger ones in as many as FFmpeg chooses; the frames are the same."""
    opened, av_open = [], av.open
    monkeypatch.setattr(videofile, "ONE_THREAD_PX", limit_px)
    monkeypatch.setattr(av, "open", lambda *a, **kw: opened.append(av_open(*a, **kw)) or opened[-1])
    source = open_source(str(video))
    stream = opened[0].streams.video[0]
    assert stream.codec_context.thread_count == 1 or kind == "AUTO"
    assert stream.thread_type.name == kind
    assert len(list(source)) == 20
    source.close()


def test_fault_62_the_palette_undoes_what_the_codec_blurred(
    video: Path, frames: list[Image]
) -> None:
    """After H.264 hardly a pixel is exact; as the nearest palette colours, nearly all are."""
    read = [frame.image for frame in open_source(str(video))]
    exact = np.mean([(a == b).all(-1).mean() for a, b in zip(read, frames, strict=True)])
    nearest = [CITYSCAPES.nearest_colours(image) for image in read]
    recovered = np.mean([(a == b).all(-1).mean() for a, b in zip(nearest, frames, strict=True)])
    assert exact < 0.9
    assert recovered > 0.97


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello\n" * 100, "not a video"),
        (bytes(range(256)) * 40, "not a video"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nseg.mp4\n#EXT-X-ENDLIST\n", "not a video"),
        (b"ffconcat version 1.0\nfile seg.mp4\n", "not a video"),
    ],
)
def test_fault_57_a_file_that_is_no_video(video: Path, content: bytes, message: str) -> None:
    """Empty files, text, random bytes and disguised playlists are refused with a reason."""
    path = video.with_name("disguised.mp4")
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(str(path))


def test_fault_57_missing_files_and_devices(tmp_path: Path) -> None:
    """What does not exist, and what is neither file nor folder, is told apart."""
    with pytest.raises(SourceError, match="does not exist"):
        open_source(str(tmp_path / "no.mp4"))
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SourceError, match="neither a regular file nor a folder"):
        open_source(str(tmp_path / "pipe.mp4"))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
def test_fault_58_truncated_mp4(video: Path, share: float) -> None:
    """An MP4 whose index was never written is told as such."""
    content = video.read_bytes()
    video.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SourceError, match="moov atom missing: the file was not finished"):
        open_source(str(video))


def test_fault_59_truncated_mkv(
    lossless: Path, frames: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    """All frames before the cut are given, then the lost ones are counted and told."""
    content = lossless.read_bytes()
    lossless.write_bytes(content[: len(content) // 2])
    source = open_source(str(lossless))
    with caplog.at_level(logging.WARNING):
        read = [frame.image for frame in source]
    assert 5 <= len(read) < 20
    np.testing.assert_array_equal(read, frames[: len(read)])
    assert source.frames_lost == 20 - len(read)
    assert f"got {len(read)} of 20 frames" in caplog.text


def test_fault_59_a_damaged_middle_does_not_end_the_video(
    video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Broken packets cost frames, which are counted; the frames behind them still arrive."""
    content = bytearray(video.read_bytes())
    start = content.index(b"mdat") + 900
    content[start : start + 300] = bytes(300)
    video.write_bytes(content)
    source = open_source(str(video))
    with caplog.at_level(logging.WARNING):
        indices = [round(frame.timestamp_s * 10) for frame in source]
    assert indices[-1] == 19
    assert len(indices) + source.frames_lost == 20


@pytest.mark.parametrize("rate", [None, Fraction(0), Fraction(1000), Fraction(-5)])
def test_fault_60_impossible_speeds_become_the_default(
    tmp_path: Path, rate: Fraction | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A frame rate of 0, 1000 or nothing is replaced, with a warning; so is a wild count."""
    stream = SimpleNamespace(
        codec_context=SimpleNamespace(width=4, height=4),
        average_rate=rate,
        guessed_rate=None,
        frames=-(2**57),
    )
    info = videofile.video_info(tmp_path / "odd.mkv", stream)
    assert (info.fps, info.frame_count) == (25.0, None)
    assert "taken as 25" in caplog.text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "ftp://user:secret@cam/1",
            r"'ftp://\*\*\*@cam/1' names a protocol \(ftp\) that is not read",
        ),
        ("https://host/live.m3u8", "playlist"),
        ("http:///secret.mp4", "not a URL"),
        ("rtsp://[::1", "not a URL"),
        ("udp://127.0.0.1", "no port; write udp://host:port"),
        ("udp://127.0.0.1:70000", "a port is below 65536"),
        ("rtsp://cam/a b", "not a URL"),
        ("no*match.png", "no picture matches"),
        ("concat:a.mp4|b.mp4", "protocol"),
        ("subfile,,start,0,end,9,,:a.mp4", "protocol"),
        ("data:text/plain,x", "protocol"),
        ("file:/etc/hostname", "protocol"),
        ("unknown://x", "protocol"),
        ("list.m3u8", "playlist"),
        ("", "no video"),
        ("a\0b", "does not exist|cannot read"),
        ("x" * 5000, "cannot read"),
    ],
)
def test_fault_71_orders_to_the_decoder_are_refused(spec: str, message: str) -> None:
    """What is not a file's name is sorted out before any decoder sees it."""
    with pytest.raises(SourceError, match=message) as caught:
        open_source(spec)
    assert "user:secret" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["with space.mp4", "größe-日本.mp4", "%04d.mp4", "-leading.mp4", "concat:a|b.mp4", "7"]
)
def test_fault_71_strange_names_are_literal(
    video: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any existing file opens by its own name; one that looks like an order takes ./ before it."""
    video.rename(video.with_name(name))
    monkeypatch.chdir(video.parent)
    assert len(list(open_source(f"./{name}"))) == 20


def test_fault_71_the_decoder_opens_files_only(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg is told so, for whatever a container of today or tomorrow names."""
    told: list[dict[str, str]] = []

    def noted(url: str, options: dict[str, str]) -> Any:
        told.append(options)
        return open_container(url, options)

    monkeypatch.setattr(videofile, "open_container", noted)
    open_source(str(video)).close()
    assert told
    assert all(options["protocol_whitelist"] == "file" for options in told)


@pytest.mark.parametrize("order", ["", "file:", "concat:", "subfile,,start,0,end,0,,:", "cache:"])
def test_fault_71_a_connection_opens_no_file(
    save_video: Callable[..., Path], frames: list[Image], order: str
) -> None:
    """Also where the check of the URL would have let it pass, FFmpeg opens nothing local."""
    path = save_video("seg.ts", frames)
    with pytest.raises(SourceLostError, match="Invalid argument"):
        NetworkCapture(f"{order}{path}", 5.0, None)


@settings(max_examples=50, deadline=None)
@given(spec=st.text(max_size=40))
def test_fault_71_no_text_opens_anything_else(spec: str) -> None:
    """Whatever is typed is an existing file, an existing folder, or a SourceError."""
    try:
        open_source(f"{spec}.mp4")
    except SourceError:
        return
    raise AssertionError(f"{spec!r} opened something")


def test_a_change_of_size_keeps_size_and_colours(
    save_video: Callable[..., Path], frames: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    """Frames behind a change of size come in the first size, without invented colours (61)."""
    large = [np.repeat(np.repeat(frame, 2, 0), 2, 1) for frame in frames]
    first = save_video("a.ts", frames).read_bytes()
    path = save_video("b.ts", large)
    last = list(open_source(str(path)))[-1].image
    path.write_bytes(first + path.read_bytes())
    read = [frame.image for frame in open_source(str(path))]
    colours = np.unique(last.reshape(-1, 3), axis=0)
    assert np.isin(_packed(read[-1]), _packed(colours)).all()
    assert {image.shape for image in read} == {(48, 64, 3)}
    assert len(read) > 30
    assert "the size changes" in caplog.text


def _packed(colours: Image) -> NDArray[np.int64]:
    """Give each (..., 3) colour one number."""
    return np.asarray(colours.astype(np.int64) @ [1, 256, 65536])


def test_pictures_come_in_natural_order(pictures: Path, frames: list[Image]) -> None:
    """frame2 comes before frame10, and names are kept."""
    read = list(open_source(str(pictures)))
    assert [frame.name for frame in read] == [f"frame{index}" for index in range(20)]
    np.testing.assert_array_equal([frame.image for frame in read], frames)


def test_a_glob_takes_what_matches(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern, absolute or not, gives the matching pictures of any folder in natural order."""
    (pictures / "frame1.txt").write_text("no picture")
    monkeypatch.chdir(pictures.parent)
    for pattern in (f"{pictures}/frame1*", "labels/frame1*.png", "**/frame1*.png"):
        names = [frame.name for frame in open_source(pattern)]
        assert names == ["frame1", *(f"frame{index}" for index in range(10, 20))]
    (pictures.parent / "again").mkdir()
    (pictures.parent / "again" / "frame1.png").write_bytes((pictures / "frame1.png").read_bytes())
    with pytest.raises(SourceError, match="the same name"):
        open_source("*/frame1.png")


def test_files_have_nothing_to_drop(video: Path) -> None:
    """A file waits; to drop its frames is refused."""
    with pytest.raises(ConfigError, match="--drop latest needs a live source"):
        open_source(str(video), policy=LivePolicy(drop="latest"))
    assert len(list(open_source(str(video), policy=LivePolicy(drop="none")))) == 20


@pytest.mark.parametrize(
    ("text", "kind", "name", "stem"),
    [
        ("0", SourceKind.CAMERA, "camera 0", "camera-0"),
        ("-", SourceKind.PIPE, "stdin", "stdin"),
        (
            "rtsp://me:pw@cam:554/1?key=k",
            SourceKind.URL,
            "rtsp://***@cam:554/1?key=***",
            "rtsp-stream",
        ),
        ("HTTPS://cam/a.mp4", SourceKind.URL, "HTTPS://cam/a.mp4", "https-stream"),
        ("udp://:5000", SourceKind.URL, "udp://:5000", "udp-stream"),
        ("udp://@239.0.0.1:5000", SourceKind.URL, "udp://***@239.0.0.1:5000", "udp-stream"),
    ],
)
def test_live_sources_are_known_by_their_names(
    text: str, kind: SourceKind, name: str, stem: str
) -> None:
    """A number is a camera, - is stdin, an allowed scheme a stream; no name shows a password."""
    spec = parse_source(text)
    assert (spec.kind, spec.name, spec.stem, spec.kind.live) == (kind, name, stem, True)


def test_a_truncated_jpeg_is_named(
    pictures: Path, frames: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    """Half a JPEG, which OpenCV would fill with grey, is named, counted and left out."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    (pictures / "frame20.jpg").write_bytes(whole)
    assert len(list(open_source(str(pictures)))) == 21
    (pictures / "frame20.jpg").write_bytes(whole[: len(whole) // 2])
    source = open_source(str(pictures))
    assert len(list(source)) == 20
    assert source.frames_lost == 1
    assert re.search(r"frame20\.jpg is truncated.*; going on without it", caplog.text)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
def test_every_truncated_picture_is_an_error(tmp_path: Path, suffix: str) -> None:
    """No format gives half a picture."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    whole = cv2.imencode(suffix, noise)[1].tobytes()
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(whole)
    assert next(iter(open_source(str(tmp_path)))).image.shape == (40, 40, 3)
    for share in (0, 0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SourceError, match="picture"):
            open_source(str(tmp_path))


def test_a_picture_bomb_is_refused(tmp_path: Path) -> None:
    """A header that promises 60000 x 60000 px is an error, not an allocation."""
    whole = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    whole[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(whole)
    with pytest.raises(SourceError, match=r"bomb\.png"):
        open_source(str(tmp_path))


def test_folders_without_or_with_doubled_pictures_are_refused(tmp_path: Path) -> None:
    """An empty folder and two pictures of one stem are told before the first frame."""
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(str(tmp_path))
    for name in ("a.png", "a.bmp"):
        content = cv2.imencode(Path(name).suffix, np.zeros((8, 8, 3), np.uint8))[1].tobytes()
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match="the same name"):
        open_source(str(tmp_path))


def test_label_ids_are_painted(tmp_path: Path) -> None:
    """Single-channel ids become the palette's colours; unknown ids and colours are refused."""
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = tmp_path / "ids.png"
    path.write_bytes(cv2.imencode(".png", ids)[1].tobytes())

    def read() -> list[Any]:
        return list(open_source(str(tmp_path), labels=LabelReader(CAMVID, labels="ids", ids="own")))

    (frame,) = read()
    np.testing.assert_array_equal(frame.image, CAMVID.to_colours(ids))
    path.write_bytes(cv2.imencode(".png", ids + 200)[1].tobytes())
    with pytest.raises(SourceError, match=r"ids\.png: id 200 is not one of own"):
        read()
    path.write_bytes(cv2.imencode(".png", frame.image)[1].tobytes())
    with pytest.raises(SourceError, match="holds colours, not class ids"):
        read()


def test_a_colour_video_holds_no_ids(video: Path) -> None:
    """`--labels ids` on a colour video is refused."""
    with pytest.raises(SourceError, match="lossy codec, which does not keep class ids"):
        list(open_source(str(video), labels=LabelReader(CAMVID, labels="ids")))
