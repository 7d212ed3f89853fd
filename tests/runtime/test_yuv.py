"""YUV frames: their colours are those of FFmpeg, and they are repaired at least as well as BGR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from label_maps import COLOURS, contract_of, wrong
from p2p_runtime.engines.base import UninterruptibleEngine
from p2p_runtime.labels import repair
from p2p_runtime.labels.colorspace import MISMATCHES, find_mismatch
from p2p_runtime.labels.likelihood import YuvLikelihood
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.labels.yuv import ColorSpec, YuvFrame, to_bgr
from p2p_runtime.labels.yuv_lut import NO_CLASS, YuvLut, cells_of, chroma_pairs
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.pipeline import run_pipeline
from p2p_runtime.translate.preprocess import Preprocessor
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.sinks import NullSink
from p2p_runtime.video.size_guard import SizeGuard
from p2p_runtime.video.sources.decode import PixelReader
from p2p_runtime.video.sources.videofile import VideoFileSource
from toy_runtime import input_of

Image = NDArray[np.uint8]
LIMITED_601 = ColorSpec()
SPECS = [
    ColorSpec(matrix, levels) for matrix in ("BT.601", "BT.709") for levels in ("limited", "full")
]


def street(height: int = 120, width: int = 160) -> Image:
    """Return a label map with slanted edges, a disc and a thin pole: (H, W, 3) uint8 BGR."""
    ids = np.full((height, width), 18, np.uint8)
    cv2.circle(ids, (3 * width // 4, height // 3), height // 4, 16, -1)
    cv2.fillPoly(ids, [np.array([[0, height - 1], [70, 60], [90, 60], [width - 1, height - 1]])], 3)
    cv2.ellipse(ids, (80, 85), (22, 13), 0, 0, 360, 21, -1)
    ids[20:100, 30:33] = 13
    return COLOURS[ids]


def stored(image: Image, spec: ColorSpec = LIMITED_601) -> YuvFrame:
    """Halve a picture's chroma and lose nothing else; odd sides are repeated."""
    matrix, offset = spec.bgr_to_yuv()
    levels = np.clip(np.rint(image @ matrix + offset), 0, 255)
    height, width = image.shape[:2]
    even = np.pad(levels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    cb, cr = (np.rint(blocks[..., part]).astype(np.uint8) for part in (1, 2))
    return YuvFrame(levels[..., 0].astype(np.uint8), cb, cr, spec)


@pytest.mark.parametrize("colours", [(2, 0), (2, 1), (2, 2), (1, 1), (1, 2), (5, 0), (6, 1)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p"])
def test_colours_are_those_of_ffmpeg(colours: tuple[int, int], pixels: str) -> None:
    """Whatever a video says of its matrix and range, the colours are those of FFmpeg's BGR."""
    levels = np.random.default_rng(0).integers((90, 112, 112), (180, 144, 144), (20, 3))
    for luma, cb, cr in levels:
        plane = np.full((12, 8), luma, np.uint8)
        plane[8:10], plane[10:] = cb, cr
        decoded: Any = av.VideoFrame.from_ndarray(plane, format=pixels)
        decoded.colorspace, decoded.color_range = colours
        yuv, bgr = (PixelReader("a", None, yuv=p)(decoded) for p in (True, False))
        assert isinstance(yuv, YuvFrame)
        assert isinstance(bgr, np.ndarray)
        assert np.abs(yuv.bgr().astype(int) - bgr).max() <= 2  # FFmpeg's tables round


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv422p", "bgr24", "gray"])
def test_other_formats_come_as_bgr(pixels: str) -> None:
    """Only 4:2:0 becomes a YuvFrame; other formats are converted."""
    decoded = av.VideoFrame(16, 8, pixels)
    assert isinstance(PixelReader("a", None, yuv=True)(decoded), np.ndarray)


def test_an_unknown_matrix_comes_as_bgr() -> None:
    """BT.2020 is FFmpeg's to convert."""
    decoded: Any = av.VideoFrame(16, 8, "yuv420p")
    decoded.colorspace = 9
    assert isinstance(PixelReader("a", None, yuv=True)(decoded), np.ndarray)


def test_yuv_frames_are_given_on_request(save_video: Callable[..., Path]) -> None:
    """A source gives BGR by default; YUV has the same size and nearly the same colours."""
    path = save_video("seg.mp4", [street()] * 2, "libx264")
    bgr = next(iter(VideoFileSource(path)))
    yuv = next(iter(VideoFileSource(path, yuv=True)))
    assert isinstance(bgr.picture, np.ndarray)
    assert isinstance(yuv.picture, YuvFrame)
    assert yuv.picture.shape == bgr.image.shape == yuv.image.shape
    assert np.abs(yuv.image.astype(int) - bgr.image).mean() < 2


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    steps=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_a_strided_frame_is_the_same_with_fewer_pixels(
    size: tuple[int, int], steps: tuple[int, int]
) -> None:
    """A strided conversion gives the pixels of the whole one."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    yuv = stored(noise)
    np.testing.assert_array_equal(to_bgr(yuv, *steps), yuv.bgr()[:: steps[0], :: steps[1]])


def test_the_share_off_the_palette_is_that_of_bgr() -> None:
    """A label map has none, another colour is all off, and noise gives nearly the same share."""
    contract = contract_of(street())
    assert contract.off_palette(stored(street())) < 0.03  # mixed along the edges
    assert contract.off_palette(stored(np.full((64, 64, 3), (40, 110, 180), np.uint8))) == 1
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    yuv = stored(noise.repeat(8, axis=0).repeat(8, axis=1))
    assert contract.off_palette(yuv) == pytest.approx(contract.off_palette(yuv.bgr()), abs=0.1)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.matrix} {s.levels}")
def test_halved_chroma_is_nearly_undone(spec: ColorSpec) -> None:
    """A street comes back with few wrong pixels, whatever its matrix and range."""
    truth = street()
    yuv = stored(truth, spec)
    contract = contract_of(truth)
    nearest = wrong(CITYSCAPES.nearest_colours(yuv.bgr()), truth)
    assert nearest > 0.01
    assert wrong(contract.preprocess(yuv), truth) < nearest / 4
    assert wrong(contract.preprocess(yuv), truth) <= wrong(contract.preprocess(yuv.bgr()), truth)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_block_is_confident_if_its_darkest_and_lightest_pixels_are(seed: int) -> None:
    """Both of the same class; here looked up one by one."""
    rng = np.random.default_rng(seed)
    decoded = CITYSCAPES.colours_bgr()[[0, 1, 7, 21]].astype(np.float64)
    lut = YuvLut(np.array([0, 1, 7, 21], np.uint8), decoded, LIMITED_601)
    matrix, offset = LIMITED_601.bgr_to_yuv()
    colours = (decoded @ matrix + offset)[rng.integers(0, 4, (12, 16))]  # (h, w, 3)
    cb, cr = (np.rint(colours[..., part]).astype(np.uint8) for part in (1, 2))
    luma = colours[..., 0].repeat(2, axis=0).repeat(2, axis=1) + rng.normal(0, 9, (24, 32))
    frame = YuvFrame(np.clip(luma, 0, 255).astype(np.uint8), cb, cr, LIMITED_601)
    blocks = frame.luma.reshape(12, 2, 16, 2)
    classes = [
        lut.confident[cells_of(luma, chroma_pairs(cb, cr))] & 255
        for luma in (blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3)))
    ]
    expected = np.where(classes[0] == classes[1], classes[0], NO_CLASS)
    found = YuvLikelihood(frame, lut).confident_blocks()
    np.testing.assert_array_equal(found, expected)
    assert (found == NO_CLASS).any()
    assert (found != NO_CLASS).any()


def test_a_thin_pole_survives() -> None:
    """Three pixels of pole are still a pole, and not eaten by what surrounds them."""
    truth = street()
    pole = (truth == COLOURS[13]).all(axis=-1)
    repaired = contract_of(truth).preprocess(stored(truth))
    assert (repaired[pole] == COLOURS[13]).all(axis=-1).mean() > 0.95


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg", "libvpx-vp9"])
def test_fault_62_yuv_of_lossy_codecs_lose_few_labels(
    codec: str, save_video: Callable[..., Path]
) -> None:
    """Whatever the codec, repair leaves half of what the nearest colour gets wrong, or less."""
    truth = street()
    path = save_video("seg.mkv", [truth] * 3, codec)
    frame = next(iter(VideoFileSource(path, yuv=True)))
    assert isinstance(frame.picture, YuvFrame)
    left = wrong(contract_of(truth).preprocess(frame.picture), truth)
    assert left <= wrong(CITYSCAPES.nearest_colours(frame.image), truth) / 2
    assert left < 0.02


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_size_is_read_where_a_nearest_neighbour_resize_reads(
    size: tuple[int, int], to: tuple[int, int]
) -> None:
    """Blocks of one class each: the classes are those of the pixels that cv2.resize picks."""
    blocks = np.random.default_rng(0).integers(0, 29, (-(-size[0] // 8), -(-size[1] // 8)))
    ids = blocks.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)[: size[0], : size[1]]
    contract = PixelContract(height=to[0], width=to[1], palette=CITYSCAPES)
    expected = cv2.resize(ids, to[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(contract.classify(stored(COLOURS[ids])), expected)


@pytest.mark.parametrize("mismatch", MISMATCHES, ids=lambda mismatch: mismatch.name or "none")
def test_every_mismatch_of_yuv_is_undone(mismatch: Any) -> None:
    """A mismatched video is repaired exactly, where a conversion to BGR would clip it."""
    parts = [part.split(" taken for ") for part in mismatch.name.split(" and ") if part]
    matrix = next((part for part in parts if part[0].startswith("BT")), ["BT.601", "BT.601"])
    levels = next((part for part in parts if not part[0].startswith("BT")), ["limited"] * 2)
    truth = COLOURS[np.arange(48).reshape(6, 8) % 29].repeat(8, axis=0).repeat(8, axis=1)
    right = stored(truth, ColorSpec(matrix[0], levels[0]))
    decoded = YuvFrame(right.luma, right.cb, right.cr, ColorSpec(matrix[1], levels[1]))
    preprocessor = Preprocessor(contract_of(truth))
    task = FrameTask(picture=decoded)
    preprocessor.admit(task)
    found = task.mismatch
    assert found == find_mismatch(decoded.bgr(), CITYSCAPES)
    task.mismatch = mismatch
    preprocessor.complete(task)
    assert task.input is not None
    inputs = task.input.pixels
    np.testing.assert_array_equal(inputs, truth)
    assert preprocessor.off_palette(task) == 0


def test_without_repair_yuv_is_only_converted() -> None:
    """``--no-repair-labels`` shows the generator the frame as it is."""
    yuv = stored(street())
    preprocessor = Preprocessor(contract_of(street()), repair_labels=False)
    assert not preprocessor.wants_yuv
    np.testing.assert_array_equal(input_of(preprocessor, yuv), yuv.bgr())
    np.testing.assert_array_equal(preprocessor.repaired(FrameTask(picture=yuv)), yuv.bgr())


def test_a_stream_that_changes_its_size_goes_on_in_that_of_its_first_frame() -> None:
    """YUV frames of another size are resized as BGR is: by nearest neighbour."""
    guard = SizeGuard("a", width=160, height=120)
    first, larger = stored(street()), stored(cv2.resize(street(), (320, 240)))
    assert guard(first, 0) is first
    resized = guard(larger, 1)
    assert isinstance(resized, np.ndarray)
    assert to_bgr(resized).shape == (120, 160, 3)


class _Echo(UninterruptibleEngine):
    """Gives back what it is given."""

    device = "cpu"

    def infer(self, frames: Image) -> Image:
        return frames

    def close(self) -> None:
        """Nothing to free."""


def test_a_run_of_a_video_never_converts_it_to_bgr(
    save_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only samples of a label video become BGR; every frame is preprocessed in YUV."""
    path = save_video("seg.mp4", [street()] * 4, "libx264")
    read: list[YuvFrame] = []
    likelihood = repair.YuvLikelihood
    monkeypatch.setattr(
        repair,
        "YuvLikelihood",
        lambda frame, colours: read.append(frame) or likelihood(frame, colours),
    )
    sizes: list[int] = []
    convert = YuvFrame.bgr
    monkeypatch.setattr(
        YuvFrame,
        "bgr",
        lambda self, *steps: sizes.append(convert(self, *steps).size) or convert(self, *steps),
    )
    contract = PixelContract(height=64, width=64, palette=CITYSCAPES)
    with Translator(contract, _Echo(), dedupe_threshold_px=None) as translator:
        source = VideoFileSource(path, yuv=translator.preprocessor.wants_yuv)
        report = run_pipeline(source, translator, NullSink())
    assert report.frames_out == len(read) == 4
    assert max(sizes) < street().size / 4


def test_the_camvid_video_is_repaired_in_yuv(shared_data: Callable[[str], Path]) -> None:
    """H.264 at crf 23 against its lossless twin: 99.4 %, and more than from BGR."""
    lossy = VideoFileSource(shared_data("camvid_clip/seg.mp4"), yuv=True)
    lossless = VideoFileSource(shared_data("camvid_clip/seg_lossless.mkv"))
    pairs = list(zip(lossy, lossless, strict=True))[::12]
    contract = contract_of(pairs[0][1].image)
    from_yuv = [1 - wrong(contract.preprocess(a.picture), b.image) for a, b in pairs]
    from_bgr = [1 - wrong(contract.preprocess(a.image), b.image) for a, b in pairs]
    assert np.mean(from_yuv) > 0.9935
    assert np.mean(from_yuv) > np.mean(from_bgr)
