"""Label repair: what a codec blurred comes back, what was exact stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from label_maps import COLOURS, contract_of, wrong
from p2p_runtime.labels import repair
from p2p_runtime.labels.likelihood import BgrAppearance
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.labels.repair import count_nearby, least_costs
from p2p_runtime.labels.resampling import resample
from p2p_runtime.labels.yuv_lut import NO_CLASS
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.video.sources.videofile import VideoFileSource

Image = NDArray[np.uint8]
USED = (0, 3, 7, 13, 16, 18, 21)


def street(height: int = 120, width: int = 160) -> Image:
    """Return a label map with slanted edges, a disc and thin poles: (H, W, 3) uint8 BGR."""
    ids = np.full((height, width), 18, np.uint8)
    cv2.fillPoly(ids, [np.array([[0, 40], [60, 30], [70, 75], [0, 90]])], 7)
    cv2.circle(ids, (120, 45), 30, 16, -1)
    cv2.fillPoly(ids, [np.array([[0, 119], [70, 60], [90, 60], [159, 119]])], 3)
    cv2.ellipse(ids, (80, 85), (22, 13), 0, 0, 360, 21, -1)
    for x, top in ((30, 20), (101, 10), (140, 50)):
        ids[top:100, x : x + 3] = 13
    return COLOURS[ids]


def subsampled(image: Image) -> Image:
    """Halve the chroma as codecs do, without any other loss: the mean of 2x2 px."""
    height, width = image.shape[:2]
    ycc = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    half = cv2.resize(ycc, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    chroma = cv2.resize(half, (width, height), interpolation=cv2.INTER_NEAREST)
    chroma[..., 0] = ycc[..., 0]
    return np.asarray(cv2.cvtColor(chroma, cv2.COLOR_YCrCb2BGR), np.uint8)


def test_halved_chroma_is_nearly_undone() -> None:
    """Of the pixels that the nearest colour takes for a third class, most come back."""
    truth = street()
    blurred = subsampled(truth)
    nearest = wrong(CITYSCAPES.nearest_colours(blurred), truth)
    assert nearest > 0.02
    assert wrong(contract_of(truth).preprocess(blurred), truth) < nearest / 4


def test_thin_poles_survive() -> None:
    """Three pixels of pole are still a pole after repair, and not eaten by what surrounds them."""
    truth = street()
    pole = (truth == COLOURS[13]).all(axis=-1)
    repaired = contract_of(truth).preprocess(subsampled(truth))
    assert (repaired[pole] == COLOURS[13]).all(axis=-1).mean() > 0.95


@given(
    classes=arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.sampled_from([*range(0, 40, 2), NO_CLASS]),
    )
)
@settings(max_examples=50, deadline=None)
def test_neighbours_are_counted_class_by_class(classes: Image) -> None:
    """As a box filter counts them, mirrored at the borders; more than 16 classes, too."""
    common = np.arange(0, 40, 2, dtype=np.uint8)
    counts = count_nearby(classes, common, np.arange(classes.size))
    for place, index in enumerate(common):
        of_class = (classes == index).astype(np.uint8)
        expected = cv2.boxFilter(of_class, cv2.CV_8U, (5, 5), normalize=False)
        np.testing.assert_array_equal(counts[place], expected.ravel())


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 30.0, 700.0]))
@settings(max_examples=30, deadline=None)
def test_the_least_cost_is_found_to_a_4096th_of_a_nat(seed: int, most: float) -> None:
    """Whatever its sign; what is chosen costs no more than that above the least."""
    costs = np.random.default_rng(seed).uniform(-most, most, (29, 50)).astype(np.float32)
    places, found = least_costs(costs)
    np.testing.assert_allclose(costs[places, np.arange(50)], costs.min(axis=0), atol=1 / 4096)
    np.testing.assert_allclose(found, costs.min(axis=0), atol=1 / 4096)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg", "libvpx-vp9", "ffv1"])
def test_fault_62_lossy_codecs_lose_few_labels(codec: str, save_video: Callable[..., Path]) -> None:
    """Whatever the codec, repair leaves no more wrong pixels than the nearest colour, and few."""
    truth = street()
    path = save_video("seg.mkv", [truth] * 3, codec)
    decoded = next(iter(VideoFileSource(path))).image
    left = wrong(contract_of(truth).preprocess(decoded), truth)
    assert left <= wrong(CITYSCAPES.nearest_colours(decoded), truth) / 2
    assert left < 0.02


@settings(max_examples=40, deadline=None)
@given(ids=arrays(np.uint8, (9, 14), elements=st.sampled_from(range(29))))
def test_exact_maps_stay_bit_for_bit(ids: Image) -> None:
    """A map that holds nothing but palette colours is not touched, however thin its regions."""
    exact = COLOURS[ids]
    np.testing.assert_array_equal(contract_of(exact).preprocess(exact), exact)


@pytest.mark.parametrize(("height", "width"), [(120, 160), (64, 64), (37, 211)])
def test_exact_maps_are_looked_up_only(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map in exact colours, of whatever size, costs one lookup per pixel of the result."""
    monkeypatch.setattr(repair, "BgrLikelihood", None)
    repaired = replace(contract_of(street()), height=height, width=width).preprocess(street())
    size = (width, height)
    picked = cv2.resize(street(), size, interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(repaired, picked)


def test_a_map_is_not_exact_for_a_glance_alone() -> None:
    """Where the pixels that are looked at first are exact, the others still count."""
    frame = subsampled(street())
    frame[::97, ::97] = street()[::97, ::97]
    assert BgrAppearance(np.arange(29, dtype=np.uint8), COLOURS[:29]).may_be_exact(frame)
    nearest = wrong(CITYSCAPES.nearest_colours(frame), street())
    assert wrong(contract_of(frame).preprocess(frame), street()) < nearest / 3


def test_what_is_exact_where_it_is_read_is_read_as_a_whole_map_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The shortcut for exact pixels gives what label repair of the frame would."""
    frame = street()
    frame[1::4] = subsampled(frame)[1::4]  # shrunk to a quarter, rows 2, 6, 10... are read
    small = replace(contract_of(frame), height=30, width=40)
    short = small.preprocess(frame)
    monkeypatch.setattr(BgrAppearance, "exact_ids", lambda key, part: None)
    np.testing.assert_array_equal(short, small.preprocess(frame))


def test_exact_pixels_stay_among_blurred_ones() -> None:
    """One lossy corner gives nobody the right to change pixels that are exact elsewhere."""
    frame = street()
    frame[:40, :40] = subsampled(frame)[:40, :40]
    repaired = contract_of(frame).preprocess(frame)
    np.testing.assert_array_equal(repaired[40:], frame[40:])
    np.testing.assert_array_equal(repaired[:, 40:], frame[:, 40:])


@settings(max_examples=40, deadline=None)
@given(
    frame=st.one_of(
        arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))),
        st.integers(-40, 40).map(
            lambda noise: np.clip(subsampled(street()).astype(int) + noise, 0, 255).astype(np.uint8)
        ),
    ),
    used=st.sampled_from([None, USED, (3,)]),
)
def test_repair_is_idempotent_and_gives_used_colours_only(
    frame: Image, used: tuple[int, ...] | None
) -> None:
    """Any frame becomes colours of the used classes, and repairing those changes nothing."""
    contract = contract_of(frame, used)
    once = contract.preprocess(frame)
    allowed = {tuple(COLOURS[index]) for index in used or range(29)}
    assert {tuple(pixel) for pixel in once.reshape(-1, 3)} <= allowed
    np.testing.assert_array_equal(contract.preprocess(once), once)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_resampling_picks_what_a_nearest_neighbour_resize_picks(
    size: tuple[int, int], to: tuple[int, int]
) -> None:
    """However little of a frame is read, the same source pixels come out as of cv2.resize."""
    places = np.arange(size[0] * size[1], dtype=np.int32).reshape(size)
    resampling = resample(*size, *to)
    read = resampling.source_pixels(places)  # type: ignore[arg-type]  # places instead of pixels
    picked = read[resampling.rows][:, resampling.columns]
    expected = cv2.resize(places, to[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(picked, expected)


def test_large_frames_are_read_in_whole_blocks() -> None:
    """A frame four times too large keeps the 2x2 px that share a chroma sample together."""
    resampling = resample(480, 640, 60, 80)
    assert resampling.source_pixels(np.zeros((480, 640, 3), np.uint8)).shape == (120, 160, 3)
    assert resampling.source_rows is not None
    assert (resampling.source_rows[::2] % 2 == 0).all()
    np.testing.assert_array_equal(resampling.source_rows[1::2], resampling.source_rows[::2] + 1)


def test_small_and_large_frames_are_repaired_alike() -> None:
    """Shrinking is done after the repair, not before it: a large lossy frame has few errors."""
    truth = cv2.resize(street(), (965, 725), interpolation=cv2.INTER_NEAREST)
    contract = PixelContract(height=64, width=64, palette=CITYSCAPES)
    blurred = subsampled(truth[:-1, :-1])
    truth_small = contract.preprocess(np.ascontiguousarray(truth[:-1, :-1]))
    nearest = wrong(
        CITYSCAPES.nearest_colours(contract.preprocess(blurred, repair_labels=False)), truth_small
    )
    assert nearest > 0
    assert wrong(contract.preprocess(blurred), truth_small) < nearest / 2


def test_classes_that_were_never_trained_do_not_come_out() -> None:
    """The exact colour of a class that the training data lacks becomes the nearest used one."""
    truck = np.full((8, 8, 3), COLOURS[22], np.uint8)
    assert (contract_of(truck, USED).preprocess(truck) == COLOURS[0]).all()
    assert contract_of(truck, USED).off_palette(truck) == 0  # it is a colour of the palette


def test_the_camvid_video_is_repaired(shared_data: Callable[[str], Path]) -> None:
    """H.264 at crf 23 against its lossless twin: 99.2 % of the labels, 98.1 % by nearest colour."""
    lossy = VideoFileSource(shared_data("camvid_clip/seg.mp4"))
    lossless = VideoFileSource(shared_data("camvid_clip/seg_lossless.mkv"))
    pairs = list(zip(lossy, lossless, strict=True))[::12]
    contract = contract_of(pairs[0][0].image)
    right = [1 - wrong(contract.preprocess(a.image), b.image) for a, b in pairs]
    nearest = [1 - wrong(CITYSCAPES.nearest_colours(a.image), b.image) for a, b in pairs]
    assert np.mean(right) > 0.993
    assert np.mean(nearest) < 0.985
    at_256 = PixelContract(height=256, width=256, palette=CITYSCAPES)
    small = [1 - wrong(at_256.preprocess(a.image), at_256.preprocess(b.image)) for a, b in pairs]
    assert np.mean(small) > 0.993
