"""From pairs to batches: augmentation, order and palettes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p_runtime.errors import ConfigError, DatasetError, TrainingError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig
from p2p_train.data import batches as batches_module
from p2p_train.data import decode
from p2p_train.data.batches import (
    EpochSampler,
    named_worker_failures,
    training_batches,
    validation_batches,
)
from p2p_train.data.dataset import Augmentation, LabelCache, PairBatch, PairDataset
from p2p_train.data.labels import choose_palette
from p2p_train.data.layouts.index import find_pairs
from toy_pairs import write_pairs

CONTRACT = PixelContract(height=32, width=32, palette=CITYSCAPES)


def dataset(data: Path, **augmentation: int) -> PairDataset:
    """Return the training pairs of ``data`` under the 32x32 contract."""
    pairs = find_pairs(DataConfig(folder=str(data))).train
    return PairDataset(pairs, CONTRACT, Augmentation(**augmentation))


def sampler(**changes: int) -> EpochSampler:
    """Return a sampler over ten pairs, four a batch, six steps."""
    settings = {"pairs": 10, "batch_size": 4, "seed": 3, "first_step": 0, "last_step": 6}
    return EpochSampler(**{**settings, **changes})


def test_inputs_hold_palette_colours_only_whatever_the_augmentation(data: Path) -> None:
    """Jitter and flip never invent a label colour, even out of a JPEG."""
    write_pairs(data / "train", 4, first=60, suffix=".jpg")
    augmented = dataset(data, jitter_px=6, flip=True, seed=1)
    colours = {tuple(colour) for colour in CITYSCAPES.colours_bgr().tolist()}
    for index in range(len(augmented)):
        pixels = augmented[1, index].source.reshape(-1, 3)
        assert {tuple(pixel) for pixel in pixels.tolist()} <= colours


def test_input_and_target_are_flipped_and_cropped_together(tmp_path: Path) -> None:
    """A photo that equals its label map still equals it after augmentation."""
    label = np.array(CITYSCAPES.colours_rgb, np.uint8)[np.arange(29 * 29).reshape(29, 29) % 29]
    label = np.kron(label, np.ones((8, 8, 1), np.uint8))[:64, :64]
    (tmp_path / "train").mkdir()
    for index in range(12):
        Image.fromarray(np.hstack([label, label])).save(tmp_path / "train" / f"{index}.png")
    pairs = find_pairs(DataConfig(folder=str(tmp_path))).train
    contract = replace(CONTRACT, height=64, width=64)
    augmented = PairDataset(pairs, contract, Augmentation(jitter_px=16, flip=True))
    seen = set()
    for index in range(len(augmented)):
        pair = augmented[0, index]
        same = (pair.source.int() - pair.target.int()).abs().amax(dim=-1) <= 40
        assert same.float().mean() > 0.6  # edges blur in the target, which is resized smoothly
        seen.add(pair.source.numpy().tobytes())
    assert len(seen) > 6


def test_crops_are_squares_of_the_whole_image(data: Path) -> None:
    """Without jitter, each crop is a part of the image as it is validated, its photo likewise."""
    contract = replace(CONTRACT, width=64)
    pairs = find_pairs(DataConfig(folder=str(data))).train
    whole = PairDataset(pairs, contract)
    crops = PairDataset(pairs, contract, Augmentation(crop_px=16, flip=True))
    assert (whole.pixels, crops.pixels, crops.pair_bytes) == (64 * 32, 256, 6 * 256)
    seen = set()
    for index in range(len(pairs)):
        image, crop = whole[0, index], crops[0, index]
        assert crop.corners is not None
        ((top, left),) = crop.corners
        part = np.s_[:, top : top + 16, left : left + 16]
        pair = image.source, image.target
        mirrored = image.source.flip(2), image.target.flip(2)
        assert any(
            torch.equal(source[part], crop.source) and torch.equal(target[part], crop.target)
            for source, target in (pair, mirrored)
        )
        seen.add((top, left, torch.equal(image.source[part], crop.source)))
    assert len(seen) > 5


def test_crops_show_the_edges_too() -> None:
    """What lies at an edge of the image is in nearly half as many crops as the middle, or more."""
    columns = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (64, 256, 3))
    augmentation = Augmentation(crop_px=64)
    shown = np.zeros(256)
    for epoch in range(600):
        crop, _, _ = augmentation.apply(columns, columns, epoch, 0)
        shown[crop[0, :, 0]] += 1
    assert shown.min() > 0.4 * shown.max()


def test_augmentation_is_a_function_of_seed_epoch_and_pair(data: Path) -> None:
    """The same key gives the same pixels in another data set object; another epoch does not."""
    one, two = (dataset(data, jitter_px=8, flip=True, seed=5) for _ in range(2))
    assert torch.equal(one[3, 0].source, two[3, 0].source)
    assert any(not torch.equal(one[3, i].target, one[4, i].target) for i in range(4))


def test_epochs_have_orders_of_their_own_and_use_each_pair_at_most_once() -> None:
    """Within an epoch no pair repeats; the next epoch has another order."""
    batches = list(sampler())
    epochs = [[*batches[i], *batches[i + 1]] for i in (0, 2, 4)]
    for number, epoch in enumerate(epochs):
        assert {key[0] for key in epoch} == {number}
        assert len({key[1] for key in epoch}) == 8
    assert [key[1] for key in epochs[0]] != [key[1] for key in epochs[1]]


def test_a_resumed_sampler_goes_on_in_the_middle_of_an_epoch() -> None:
    """Starting at step 3 yields exactly what a whole run yields from step 3 on."""
    assert list(sampler(first_step=3)) == list(sampler())[3:]


def test_a_data_set_smaller_than_a_batch_is_one_batch() -> None:
    """Ten pairs and batch 128 give steps of ten pairs."""
    batches = list(sampler(batch_size=128, last_step=2))
    assert [len(batch) for batch in batches] == [10, 10]


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing_and_leave_torchs_randomness_alone(data: Path, workers: int) -> None:
    """Batches are the same with and without workers, and the global generator does not move."""
    before = torch.get_rng_state()
    loader = training_batches(
        dataset(data, jitter_px=8, flip=True), sampler(), workers=workers, pin_memory=False
    )
    batches = list(loader)
    assert torch.equal(torch.get_rng_state(), before)
    first = dataset(data, jitter_px=8, flip=True)[next(iter(sampler()))[0]]
    assert torch.equal(batches[0].source[:1], first.source)


@pytest.mark.parametrize(("pays_above_s", "side_by_side"), [(0.0, True), (60.0, False)])
def test_only_slow_pairs_are_read_by_threads(
    data: Path, pays_above_s: float, side_by_side: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads read where the pairs before took longer than they cost; pixels are the same."""
    monkeypatch.setattr(batches_module, "THREADS_PAY_S", pays_above_s)
    pairs, threads = dataset(data), []
    read = PairDataset.__getitem__

    def noted(self: PairDataset, key: tuple[int, int]) -> PairBatch:
        threads.append(threading.current_thread())
        return read(self, key)

    monkeypatch.setattr(PairDataset, "__getitem__", noted)
    got = list(training_batches(pairs, sampler(), workers=0, pin_memory=False))
    main = threading.current_thread()
    assert len(threads) == 4 * 6
    assert all(thread is not main for thread in threads[:4])  # nothing is known of the first
    assert all((thread is not main) == side_by_side for thread in threads[4:])
    expected = [pairs[key] for key in next(iter(sampler()))]
    assert torch.equal(got[0].source, torch.cat([batch.source for batch in expected]))


def test_auto_recognises_cityscapes_and_says_so(data: Path) -> None:
    """A known palette is found by its colours, with the share that was seen."""
    pairs = find_pairs(DataConfig(folder=str(data))).train
    palette, note = choose_palette(DataConfig(), pairs)
    assert palette == CITYSCAPES
    assert "cityscapes recognised: 100.0%" in note


def test_auto_takes_unknown_colours_as_pictures_and_says_so(data: Path) -> None:
    """Photos are no label maps: no labels are repaired, and the note names the flag."""
    pairs = find_pairs(DataConfig(folder=str(data), input_side="left")).train
    palette, note = choose_palette(DataConfig(), pairs)
    assert palette is None
    assert "--palette" in note


def test_unknown_palette_names_the_presets() -> None:
    """A palette that is neither preset nor file is an error that lists the presets."""
    with pytest.raises(ConfigError, match="cityscapes, camvid"):
        choose_palette(DataConfig(palette="citiscapes"), ())


def test_the_two_halves_are_read_from_one_decoded_file(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side-by-side image is decoded once a pair, not once a half."""
    opened = []
    real = decode.open_image
    pairs = dataset(data)
    monkeypatch.setattr(decode, "open_image", lambda path: opened.append(path) or real(path))
    pairs[0, 0]
    assert len(opened) == 1


def test_fault_24_a_deleted_file_is_replaced_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One file of 100 may go: the next pair replaces it, every other batch is as it was."""
    write_pairs(tmp_path / "train", 100)
    write_pairs(tmp_path / "val", 1)
    pairs = dataset(tmp_path)
    order = sampler(pairs=100, batch_size=4, last_step=50)

    def batches(workers: int) -> list[PairBatch]:
        return list(training_batches(pairs, order, workers=workers, pin_memory=False))

    whole = batches(0)
    (tmp_path / "train" / "007.png").unlink()
    lossy, again = batches(0), batches(1)
    changed = [not torch.equal(a.source, b.source) for a, b in zip(whole, lossy, strict=True)]
    assert sum(changed) == 2  # once an epoch
    assert [len(batch.missing) for batch in lossy] == changed
    assert all(torch.equal(a.source, b.source) for a, b in zip(lossy, again, strict=True))
    replaced = torch.cat([batch.source for batch in lossy[:25]])
    assert sum(torch.equal(image, pairs[0, 8].source[0]) for image in replaced) == 2
    warnings = [line for line in caplog.text.splitlines() if "007.png" in line]
    assert len(warnings) == 2  # once a run
    assert "another pair replaces it" in warnings[0]


def test_fault_24_too_many_deleted_files_stop_the_run(data: Path) -> None:
    """More than one pair in a hundred without its file ends training with one line."""
    pairs = dataset(data)
    (data / "train" / "004.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of \d+ pairs .* had missing files.*004\.png"):
        list(training_batches(pairs, sampler(), workers=0, pin_memory=False))
    with pytest.raises(DatasetError, match=r"004\.png"):
        list(validation_batches(pairs, 4))


@pytest.mark.parametrize("workers", [0, 1])
def test_fault_17_broken_file_in_a_worker_is_one_line(data: Path, workers: int) -> None:
    """An unreadable image stops training; a worker's traceback does not come along."""
    pairs = dataset(data)
    file = data / "train" / "004.png"
    file.write_bytes(file.read_bytes()[:-400])
    with pytest.raises(DatasetError, match=r"004\.png") as caught:
        list(training_batches(pairs, sampler(), workers=workers, pin_memory=False))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["waiting", "working"])
def test_fault_25_killed_worker_is_one_line(data: Path, where: str) -> None:
    """A worker killed by the system is a TrainingError that says so, wherever we are just then."""
    order = sampler(last_step=3000)
    batches = training_batches(dataset(data), order, workers=1, pin_memory=False)
    next(batches)
    (worker,) = multiprocessing.active_children()
    killed = pytest.raises(TrainingError, match=r"was killed.*--resume")
    with killed as caught, named_worker_failures():
        os.kill(worker.pid, signal.SIGKILL)
        if where == "working":
            time.sleep(5)  # torch's signal handler interrupts this
        list(batches)
    assert "\n" not in str(caught.value)


def test_other_runtime_errors_stay_what_they_are() -> None:
    """Only torch's report of a worker's death is translated."""
    with pytest.raises(RuntimeError, match="shape mismatch"), named_worker_failures():
        raise RuntimeError("shape mismatch")


def test_labels_are_preprocessed_once_and_come_back_bit_for_bit(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second epoch sees what the first one repaired, in crops and mirrorings of its own."""
    seen: list[tuple[int, ...]] = []
    preprocess = PixelContract.preprocess

    def counted(contract: PixelContract, frame: np.ndarray, **options: bool) -> np.ndarray:
        if contract.palette is not None:
            seen.append(frame.shape)
        return preprocess(contract, frame, **options)

    monkeypatch.setattr(PixelContract, "preprocess", counted)
    pairs = dataset(data, jitter_px=4, flip=True)
    for index in range(len(pairs)):
        pairs[0, index]
    assert len(seen) == len(pairs)
    for index in range(len(pairs)):
        fresh = dataset(data, jitter_px=4, flip=True)[1, index]
        assert torch.equal(pairs[1, index].source, fresh.source)
    assert len(seen) == 2 * len(pairs)  # each fresh one, none of the others


def test_the_label_of_a_replacement_is_not_cached(data: Path) -> None:
    """When the missing file comes back, its photo gets its own label again."""
    pairs = dataset(data)
    first, second = (data / "train" / name for name in ("000.png", "001.png"))
    whole, content = pairs[0, 0], first.read_bytes()
    pairs = dataset(data)
    first.unlink()
    assert torch.equal(pairs[0, 0].source, pairs[0, 1].source)
    assert second.exists()
    first.write_bytes(content)
    assert torch.equal(pairs[0, 0].source, whole.source)


def test_a_full_cache_takes_no_more() -> None:
    """What is in the cache stays; the rest is preprocessed each time."""
    label = CITYSCAPES.to_colours(np.arange(29, dtype=np.uint8).repeat(64).reshape(29, 64))
    cache = LabelCache(CITYSCAPES, max_bytes=150)
    for index in range(3):
        cache.put(index, label)
    assert np.array_equal(cache.get(0), label)
    assert cache.get(2) is None
