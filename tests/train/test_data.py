"""From pairs to batches: augmentation, order and palettes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_pairs import write_pairs

from p2p_runtime.contract import PixelContract
from p2p_runtime.errors import ConfigError
from p2p_runtime.palette import CITYSCAPES
from p2p_train.config import TrainConfig
from p2p_train.data import EpochSampler, PairDataset, choose_palette, training_batches
from p2p_train.pairs import find_pairs

CONTRACT = PixelContract(height=32, width=32, palette=CITYSCAPES)


def dataset(data: Path, **options: object) -> PairDataset:
    """Return the training pairs of ``data`` under the 32x32 contract."""
    pairs = find_pairs(data, input_side="right", seed=0).train
    return PairDataset(pairs, CONTRACT, **options)  # type: ignore[arg-type]


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
    pairs = find_pairs(tmp_path, input_side="right", seed=0).train
    contract = replace(CONTRACT, height=64, width=64)
    augmented = PairDataset(pairs, contract, jitter_px=16, flip=True, seed=0)
    seen = set()
    for index in range(len(augmented)):
        pair = augmented[0, index]
        same = (pair.source.int() - pair.target.int()).abs().amax(dim=-1) <= 40
        assert same.float().mean() > 0.6  # edges blur in the target, which is resized smoothly
        seen.add(pair.source.numpy().tobytes())
    assert len(seen) > 6


def test_augmentation_is_a_function_of_seed_epoch_and_pair(data: Path) -> None:
    """The same draw gives the same pixels in another data set object; another epoch does not."""
    one, two = (dataset(data, jitter_px=8, flip=True, seed=5) for _ in range(2))
    assert torch.equal(one[3, 0].source, two[3, 0].source)
    assert any(not torch.equal(one[3, i].target, one[4, i].target) for i in range(4))


def test_epochs_have_orders_of_their_own_and_use_each_pair_at_most_once() -> None:
    """Within an epoch no pair repeats; the next epoch has another order."""
    batches = list(sampler())
    epochs = [[*batches[i], *batches[i + 1]] for i in (0, 2, 4)]
    for number, epoch in enumerate(epochs):
        assert {draw[0] for draw in epoch} == {number}
        assert len({draw[1] for draw in epoch}) == 8
    assert [draw[1] for draw in epochs[0]] != [draw[1] for draw in epochs[1]]


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


def test_auto_recognises_cityscapes_and_says_so(data: Path) -> None:
    """A known palette is found by its colours, with the share that was seen."""
    pairs = find_pairs(data, input_side="right", seed=0).train
    palette, note = choose_palette(TrainConfig(), pairs)
    assert palette == CITYSCAPES
    assert "cityscapes recognised: 100.0%" in note


def test_auto_takes_unknown_colours_as_pictures_and_says_so(data: Path) -> None:
    """Photos are no label maps: nothing is snapped, and the note names the flag to change that."""
    pairs = find_pairs(data, input_side="left", seed=0).train
    palette, note = choose_palette(TrainConfig(), pairs)
    assert palette is None
    assert "--palette" in note


def test_unknown_palette_names_the_presets() -> None:
    """A palette that is neither preset nor file is an error that lists the presets."""
    with pytest.raises(ConfigError, match="cityscapes, camvid"):
        choose_palette(TrainConfig(palette="citiscapes"), ())
