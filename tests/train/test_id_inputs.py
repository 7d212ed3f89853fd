"""Class ids in training: one street in every numbering, however it is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p_runtime.errors import ConfigError, ContractError, DatasetError
from p2p_runtime.labels.ids import NUMBERINGS, own_ids
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig, TrainConfig
from p2p_train.data.batches import validation_batches
from p2p_train.data.dataset import Augmentation, PairBatch, PairDataset
from p2p_train.data.decode import read_input
from p2p_train.data.labels import open_pairs
from p2p_train.data.prepare import prepare_data
from p2p_train.losses.base import LossBatch
from p2p_train.metrics.score import evaluate, score_generator
from p2p_train.training.loop import Machine, train
from p2p_train.training.state import TrainState
from p2p_train.training.step import train_step
from toy_pairs import SIDE_PX, draw_pair

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
STREET = ("road", "building", "vegetation", "sky", "car")


def street(seed: int) -> np.ndarray:
    """Return (H, W) places in :data:`STREET`; the last six rows are a car's bonnet."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 4, (4, 4))
    return np.kron(blocks, np.ones((SIDE_PX // 4, SIDE_PX // 4), np.intp)).astype(np.intp)


def in_numbering(places: np.ndarray, name: str) -> np.ndarray:
    """Return a street as ids of a numbering, (H, W) uint8."""
    numbering = own_ids(CITYSCAPES) if name == "own" else NUMBERINGS[name]
    numbers = {class_name: number for number, class_name in numbering.classes}
    return np.array([numbers[class_name] for class_name in STREET], np.uint8)[places]


def stored(ids: np.ndarray, how: str) -> Image.Image:
    """Return ids as a picture, in one of the forms that data sets have."""
    zero = np.zeros_like(ids)
    if how == "L":
        return Image.fromarray(ids)
    if how == "P":
        image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
        image.putpalette([level // 3 * 7 % 256 for level in range(768)])
        return image
    if how == "16 bit":
        return Image.fromarray(ids.astype(np.uint16))
    if how == "equal channels":
        return Image.fromarray(np.dstack([ids] * 3))
    if how == "equal channels, RGBA":
        return Image.fromarray(np.dstack([ids, ids, ids, zero + 255]))
    if how == "one channel":
        return Image.fromarray(np.dstack([zero, ids, zero]))
    assert how == "CARLA: red, RGBA"
    return Image.fromarray(np.dstack([ids, zero, zero, zero + 255]))


FORMS = [
    "L", "P", "16 bit", "equal channels", "equal channels, RGBA", "one channel", "CARLA: red, RGBA",
]  # fmt: skip


def write(folder: Path, draw: Callable[[int], Image.Image], count: int = 4) -> DataConfig:
    """Write inputs beside made-up photos."""
    for name in ("labels", "photos"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        draw(index).save(folder / "labels" / f"{index}.png")
        Image.fromarray(draw_pair(index)[:, :SIDE_PX]).save(folder / "photos" / f"{index}.png")
    return DataConfig(folder=str(folder), image_size=(SIDE_PX, SIDE_PX))


def tensors(config: DataConfig, **settings: object) -> PairBatch:
    """Return all pairs of a data set as training sees them."""
    data = replace(config, **settings)  # type: ignore[arg-type]
    source = open_pairs(data)
    contract = PixelContract(height=SIDE_PX, width=SIDE_PX, palette=source.palette)
    dataset = PairDataset((*source.pairs.train, *source.pairs.val), contract)
    return next(validation_batches(dataset, len(dataset)))


def coloured(seed: int) -> Image.Image:
    """Return a street in the colours of Cityscapes."""
    bgr = CITYSCAPES.to_colours(in_numbering(street(seed), "own"))
    return Image.fromarray(np.ascontiguousarray(bgr[..., ::-1]))


NAMES = ["cityscapes-label", "cityscapes-train", "carla", "own"]


@pytest.mark.parametrize("name", NAMES)
def test_fault_85_one_street_in_every_numbering_and_in_colours(tmp_path: Path, name: str) -> None:
    """Road is 7, 0, 1 or 3, and the tensors are those of its colour."""
    in_colours = tensors(write(tmp_path / "colours", coloured))
    config = write(tmp_path / "ids", lambda seed: Image.fromarray(in_numbering(street(seed), name)))
    in_ids = tensors(config, ids=name, palette="cityscapes")
    assert torch.equal(in_ids.source, in_colours.source)
    assert torch.equal(in_ids.target, in_colours.target)
    assert in_ids.ignored is None


def test_fault_85_real_streets_in_every_numbering(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """The maps of real pairs, as classes that all numberings have."""
    pairs = open_pairs(DataConfig(folder=str(shared_data("cityscapes_pairs")))).pairs.train[:3]
    maps = [CITYSCAPES.to_ids(read_input(pair.input, CITYSCAPES)) for pair in pairs]
    batches = []
    for name in NAMES:
        numbering = own_ids(CITYSCAPES) if name == "own" else NUMBERINGS[name]
        numbers = {class_name: number for number, class_name in numbering.classes}
        common = {class_name for _, class_name in NUMBERINGS["cityscapes-train"].classes}
        lut = np.array(
            [numbers[one if one in common else "road"] for one in CITYSCAPES.classes], np.uint8
        )
        config = write(tmp_path / name, lambda i, lut=lut: Image.fromarray(lut[maps[i]]), 3)
        batches.append(tensors(config, ids=name, palette="cityscapes"))
    for batch in batches[1:]:
        assert torch.equal(batch.source, batches[0].source)


@pytest.mark.parametrize("form", FORMS)
def test_fault_87_ids_are_read_as_what_they_are(tmp_path: Path, form: str) -> None:
    """One channel, three equal ones, one of three, sixteen bits, a palette without meaning."""
    ids = lambda seed: in_numbering(street(seed), "carla")  # noqa: E731
    plain = tensors(
        write(tmp_path / "a", lambda seed: Image.fromarray(ids(seed))), ids="carla", palette="auto"
    )
    other = tensors(write(tmp_path / "b", lambda seed: stored(ids(seed), form)), ids="carla")
    assert torch.equal(plain.source, other.source)


@pytest.mark.parametrize("side", ["left", "right"])
def test_fault_87_ids_may_be_halves(tmp_path: Path, side: str) -> None:
    """A PNG of both halves keeps them exactly."""
    two = write(tmp_path / "a", lambda seed: Image.fromarray(in_numbering(street(seed), "carla")))
    expected = tensors(two, ids="carla")
    (tmp_path / "b").mkdir()
    for index in range(4):
        ids = np.dstack([in_numbering(street(index), "carla")] * 3)
        halves = [draw_pair(index)[:, :SIDE_PX], ids]
        both = np.hstack(halves if side == "right" else halves[::-1])
        Image.fromarray(both).save(tmp_path / "b" / f"{index}.png")
    config = DataConfig(folder=str(tmp_path / "b"), input_side=side)  # type: ignore[arg-type]
    found = tensors(config, ids="carla")
    assert torch.equal(found.source, expected.source)
    assert torch.equal(found.target, expected.target)
    with pytest.raises(DatasetError, match="choose with --ids cityscapes-label"):
        open_pairs(config)


def test_fault_85_real_numberings_are_recognised_or_asked_for(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """What stands where in real streets tells trainIds from labelIds; the note says so."""
    data = DataConfig(folder=str(shared_data("cityscapes_pairs")))
    pairs = open_pairs(data).pairs.train[::300]
    maps = [CITYSCAPES.to_ids(read_input(pair.input, CITYSCAPES)) for pair in pairs]
    for name in ("cityscapes-label", "cityscapes-train", "carla"):
        numbers = {class_name: number for number, class_name in NUMBERINGS[name].classes}
        lut = np.array([numbers.get(one, numbers["road"]) for one in CITYSCAPES.classes], np.uint8)
        config = write(tmp_path / name, lambda i, lut=lut: Image.fromarray(lut[maps[i]]), len(maps))
        try:
            source = open_pairs(config)
        except DatasetError as error:
            assert "choose with --ids" in str(error)
        else:
            assert source.pairs.train[0].input.ids == NUMBERINGS[name]
            assert "recognised" in source.note


@pytest.mark.parametrize("right", ["cityscapes-label", "cityscapes-train", "carla"])
def test_fault_85_a_wrong_numbering_of_real_streets_is_told(
    shared_data: Callable[[str], Path],
    tmp_path: Path,
    right: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An id that is unknown ends the run; else a warning names the right one, which has none."""
    data = DataConfig(folder=str(shared_data("cityscapes_pairs")))
    pairs = open_pairs(data).pairs.train[::300]
    maps = [CITYSCAPES.to_ids(read_input(pair.input, CITYSCAPES)) for pair in pairs]
    numbers = {class_name: number for number, class_name in NUMBERINGS[right].classes}
    lut = np.array([numbers.get(one, numbers["road"]) for one in CITYSCAPES.classes], np.uint8)
    config = write(tmp_path, lambda index: Image.fromarray(lut[maps[index]]), len(maps))
    for name in NUMBERINGS:
        caplog.clear()
        try:
            open_pairs(replace(config, ids=name, palette="cityscapes"))
        except DatasetError as error:
            assert name != right
            assert "is not one of" in str(error)
        else:
            assert (f"--ids {right} " in caplog.text) == (name != right)


def test_fault_85_an_unknown_name_is_told_with_the_choices(tmp_path: Path) -> None:
    """Also where no palette is named."""
    config = write(tmp_path, lambda seed: Image.fromarray(in_numbering(street(seed), "carla")))
    with pytest.raises(ConfigError, match="'cityscape' is unknown; choose with --ids"):
        tensors(config, ids="cityscape")


@pytest.mark.parametrize("form", FORMS)
def test_fault_86_ids_never_pass_for_colours(tmp_path: Path, form: str) -> None:
    """Without a name they are an error that lists the choices, also with a palette."""
    config = write(tmp_path, lambda seed: stored(in_numbering(street(seed), "carla"), form))
    if form != "P":  # whose own colours may be the palette
        with pytest.raises(DatasetError, match="choose with --ids cityscapes-label"):
            tensors(config)
    with pytest.raises(DatasetError, match="choose with --ids cityscapes-label"):
        tensors(config, palette="cityscapes")


@pytest.mark.parametrize("settings", [{"labels": "colour"}, {"palette": "none"}])
def test_fault_86_contradictions_are_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    """Ids are neither colours nor pictures."""
    config = write(tmp_path, lambda seed: Image.fromarray(in_numbering(street(seed), "carla")))
    with pytest.raises(ConfigError):
        tensors(config, ids="carla", **settings)


@pytest.mark.parametrize("void", [255, 254])
def test_fault_87_ignored_pixels_are_unlabelled_and_masked(tmp_path: Path, void: int) -> None:
    """They are painted black, and their place is known after crops and mirrors."""

    def draw(seed: int) -> Image.Image:
        ids = in_numbering(street(seed), "cityscapes-train")
        if seed != 2:
            ids[:, : SIDE_PX // 4] = void
        return Image.fromarray(ids)

    batch = tensors(write(tmp_path, draw), ids="cityscapes-train")
    assert batch.ignored is not None
    assert batch.ignored.shape == (4, SIDE_PX, SIDE_PX)
    assert sorted(int(one.sum()) for one in batch.ignored) == [0, *[SIDE_PX * SIDE_PX // 4] * 3]
    assert batch.source[batch.ignored].max() == 0
    source = open_pairs(DataConfig(folder=str(tmp_path), ids="cityscapes-train"))
    contract = PixelContract(height=SIDE_PX, width=SIDE_PX, palette=source.palette)
    augmented = PairDataset(source.pairs.train, contract, Augmentation(jitter_px=6, flip=True))
    for epoch in range(4):
        for index in range(len(augmented)):
            one = augmented[epoch, index]
            if one.ignored is not None:
                assert one.source[one.ignored].max() == 0
                assert one.ignored.any()


def masked_batch(*, filled: int) -> PairBatch:
    """Return a batch whose left quarter does not count, with ``filled`` as its photo there."""
    generator = torch.Generator().manual_seed(0)
    shape = (4, SIDE_PX, SIDE_PX, 3)
    source, target = (
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for _ in range(2)
    )
    ignored = torch.zeros(shape[:3], dtype=torch.bool)
    ignored[:, :, : SIDE_PX // 4] = True
    target[ignored] = filled
    return PairBatch(source=source, target=target, ignored=ignored)


@pytest.mark.parametrize("changes", [{}, {"gan_loss": "none"}, {"micro_batch": 2}])
def test_fault_87_ignored_pixels_teach_nothing(
    tiny: MakeConfig, changes: dict[str, object]
) -> None:
    """At those, output and photo are equal before any loss sees them, so L1 counts them as 0."""
    config = tiny(lambda_l1=1.0, dropout=0.0, **changes)
    losses = {}
    for filled in (0, 255):
        state = TrainState(config, CPU)
        losses[filled] = train_step(state, masked_batch(filled=filled))
    assert torch.equal(losses[0]["generator_l1"], losses[255]["generator_l1"])


def test_fault_87_without_ignored_pixels_nothing_changes(tiny: MakeConfig) -> None:
    """An image is then handed on as it is, without a copy."""
    image = torch.rand(1, 3, 4, 4)
    assert LossBatch(source=image, target=image).fill_ignored(image) is image


def test_fault_87_ignored_pixels_do_not_count_in_scores(tiny: MakeConfig) -> None:
    """Neither in the validation of a run nor in p2p-train score."""
    generator = TrainState(tiny(), CPU).generator

    def translate(frames: np.ndarray) -> np.ndarray:
        return 255 - frames

    scores = {
        filled: (
            evaluate(generator, iter([masked_batch(filled=filled)]), CPU).l1,
            score_generator(translate, [masked_batch(filled=filled)]).l1,
        )
        for filled in (0, 255)
    }
    assert scores[0] == pytest.approx(scores[255])


def test_fault_85_the_contract_knows_numbering_and_shares(tmp_path: Path) -> None:
    """The first line says what was found, so that a wrong numbering shows."""
    config = write(tmp_path, lambda seed: Image.fromarray(in_numbering(street(seed), "carla")))
    found = prepare_data(
        TrainConfig.of(data=config.folder, ids="carla", image_size=(SIDE_PX, SIDE_PX))
    )
    assert found.contract.ids == NUMBERINGS["carla"]
    assert found.contract.class_shares is not None
    assert [sum(third) for third in found.contract.class_shares] == pytest.approx([1] * 3, abs=0.01)
    with pytest.raises(ContractError, match="class_shares"):
        PixelContract.from_json({**found.contract.to_json(), "class_shares": [[1, 2], [], 3]})
    assert "numbering carla" in found.palette_note
    assert "%" in found.palette_note
    assert PixelContract.from_json(found.contract.to_json()) == found.contract


def test_fault_85_a_run_on_ids_trains(tmp_path: Path, tiny: MakeConfig) -> None:
    """With ignored pixels in some maps and none in others."""

    def draw(seed: int) -> Image.Image:
        ids = in_numbering(street(seed), "cityscapes-train")
        if seed % 2:
            ids[:4] = 255
        return Image.fromarray(ids)

    config = write(tmp_path / "ids", draw, 6)
    machine = Machine(device=CPU)
    settings = tiny(data=config.folder, ids="cityscapes-train", epochs=1, batch_size=2)
    assert train(settings, run_dir=tmp_path / "run", machine=machine).step > 0


def test_fault_85_a_wrong_numbering_is_an_error_where_an_id_is_unknown(tmp_path: Path) -> None:
    """CARLA's 24 (road lines) is no trainId."""
    config = write(tmp_path, lambda seed: Image.fromarray(np.full((32, 32), 24 + seed, np.uint8)))
    with pytest.raises(DatasetError, match="id 24 is not one of cityscapes-train"):
        tensors(config, ids="cityscapes-train")
