"""Rendered pictures as inputs, with label maps beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from p2p_runtime.documents import read_json
from p2p_runtime.errors import ConfigError, DatasetError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.translate.translator import Translator
from p2p_train import score
from p2p_train.cli import main as train_main
from p2p_train.config import TrainConfig
from p2p_train.data.batches import validation_batches
from p2p_train.data.labels import open_pairs
from p2p_train.data.prepare import prepare_data
from p2p_train.losses.base import GeneratorOutput, LossBatch, LossSetup
from p2p_train.losses.semantic import SemanticLoss
from p2p_train.networks.pixels import to_signal
from p2p_train.segmentation.segmenter import FrozenSegmenter, Segmenter
from p2p_train.segmentation.training import SegmenterConfig, train_segmenter
from p2p_train.training.loss_networks import load_loss_networks
from toy_pairs import SIDE_PX, draw_pair

CPU = torch.device("cpu")
NAMES = {"input_dir": "render", "target_dir": "photo"}


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of renders (a quarter of the labels' colours), photos and label maps."""
    folder = tmp_path_factory.mktemp("drives")
    for part, seeds in (("train", range(8)), ("val", range(100, 103))):
        for seed in seeds:
            photo, label = np.split(draw_pair(seed), 2, axis=1)
            triple = {"photo": photo, "label": label, "render": label // 4 + 90}
            for kind, picture in triple.items():
                (folder / part / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(folder / part / kind / f"{seed:03d}.png")
    return folder


def config_of(drives: Path, **changes: object) -> TrainConfig:
    """Return settings of the data set and a tiny run."""
    settings = {"data": str(drives), "image_size": (SIDE_PX, SIDE_PX), "palette": "none"}
    return TrainConfig.of(**{**settings, **NAMES, "label_dir": "label", **changes})


@pytest.fixture(scope="module")
def segmenter_file(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of the photos and their label maps."""
    data = TrainConfig.of(data=str(drives), input_dir="label", target_dir="photo").data
    config = SegmenterConfig(
        data=data, size=(SIDE_PX, SIDE_PX), epochs=40, batch_size=4, lr=1e-2, width=8
    )
    path = tmp_path_factory.mktemp("segmenter") / "segmenter.pt"
    train_segmenter(config, CPU).save(path)
    return path


def test_label_maps_are_cropped_and_mirrored_with_their_pictures(drives: Path) -> None:
    """Through crop, jitter and mirror, each label lies where its render's colour is."""
    config = config_of(drives, crop=32, jitter_px=0, flip=True)
    data = prepare_data(config)
    assert data.contract.palette is None
    assert data.train.label_palette == CITYSCAPES
    windows = set()
    for epoch in range(4):
        batch = data.train[epoch, 0]
        assert batch.labels is not None
        assert batch.labels.shape == (1, 32, 32, 3)
        assert torch.equal(batch.labels // 4 + 90, batch.source)
        windows.add(batch.source.numpy().tobytes())
    assert len(windows) > 1
    (whole,) = validation_batches(data.val, 8)
    assert torch.equal(whole.label_maps // 4 + 90, whole.source)


def test_label_maps_of_class_ids_are_painted(drives: Path, tmp_path: Path) -> None:
    """--ids is about the label maps beside pictures, whose inputs keep their colours."""
    for part in ("train", "val"):
        for kind in ("render", "photo", "label"):
            (tmp_path / part / kind).mkdir(parents=True)
            for file in (drives / part / kind).iterdir():
                content = file.read_bytes()
                if kind == "label":
                    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
                    ids = CITYSCAPES.to_ids(np.asarray(bgr, np.uint8))
                    content = cv2.imencode(".png", ids)[1].tobytes()
                (tmp_path / part / kind / file.name).write_bytes(content)
    data = prepare_data(config_of(tmp_path, ids="own", palette="cityscapes"))
    (whole,) = validation_batches(data.val, 8)
    assert torch.equal(whole.label_maps // 4 + 90, whole.source)


def test_a_picture_without_label_map_is_named(drives: Path, tmp_path: Path) -> None:
    """Each picture needs its label map, and the folder must hold such."""
    for kind in ("render", "photo", "label"):
        (tmp_path / kind).mkdir()
        for file in (drives / "train" / kind).iterdir():
            if (kind, file.name) != ("label", "003.png"):
                (tmp_path / kind / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DatasetError, match=r"003\.png"):
        open_pairs(config_of(tmp_path, allow_missing=True).data)
    with pytest.raises(DatasetError, match="--label-dir photo holds no label maps"):
        open_pairs(config_of(drives, label_dir="photo").data)


def test_another_label_map_is_another_data_set(drives: Path, tmp_path: Path) -> None:
    """A resumed run refuses label maps that changed, as it refuses other pictures."""
    shutil.copytree(drives, tmp_path, dirs_exist_ok=True)
    config = config_of(tmp_path).data
    before = open_pairs(config).pairs.fingerprint
    assert open_pairs(config).pairs.fingerprint == before
    with (tmp_path / "train" / "label" / "003.png").open("ab") as file:
        file.write(b"0")
    assert open_pairs(config).pairs.fingerprint != before


def test_the_semantic_loss_asks_for_the_label_maps_classes(
    drives: Path, segmenter_file: Path
) -> None:
    """It is small for photos of these labels, whatever colours the render has."""
    config = config_of(drives, segmenter=str(segmenter_file))
    data = prepare_data(config)
    labels = data.val.label_palette
    _, frozen = load_loss_networks(config, data.contract, CPU, labels)
    assert isinstance(frozen, FrozenSegmenter)
    (pairs,) = validation_batches(data.val, 8)
    assert pairs.labels is not None
    source, target, maps = (to_signal(t) for t in (pairs.source, pairs.target, pairs.labels))
    loss = SemanticLoss(LossSetup(config=config, segmenter=frozen))
    batch = LossBatch(source=source, target=target, labels=maps)
    of_photos = float(loss(batch, GeneratorOutput(image=target)))
    of_others = float(loss(batch, GeneratorOutput(image=target.flip(3))))
    assert 0 < of_photos < 0.5 * of_others
    first = batch.part(slice(0, 1))
    assert first.labels is not None
    assert torch.equal(first.labels, maps[:1])


def test_a_semantic_loss_without_label_maps_is_refused(drives: Path, segmenter_file: Path) -> None:
    """Pictures have no classes; the message names the flag that helps."""
    config = config_of(drives, segmenter=str(segmenter_file), label_dir=None)
    data = prepare_data(config)
    with pytest.raises(ConfigError, match="--label-dir"):
        load_loss_networks(config, data.contract, CPU, data.val.label_palette)


def test_the_recipe_trains_scores_and_exports(
    drives: Path, segmenter_file: Path, tmp_path: Path
) -> None:
    """Two steps of --recipe enhance, a segmentation score by the label maps, and a bundle."""
    exporting = pytest.importorskip("p2p_export.exporting")
    from p2p_export.options import ExportOptions

    run = tmp_path / "run"
    arguments = [
        *("--data", str(drives), "--input-dir", "render", "--target-dir", "photo"),
        *("--label-dir", "label", "--segmenter", str(segmenter_file), "--recipe", "enhance"),
        *("--image-size", str(SIDE_PX), "--ngf", "4", "--ndf", "8", "--max-steps", "2"),
        *("--num-downs", "4", "--run-dir", str(run), "--device", "cpu", "--precision", "fp32"),
    ]
    done = CliRunner().invoke(train_main, arguments)
    assert done.exit_code == 0, done.output
    config = read_json(run / "config.json")
    assert (config["data"]["palette"], config["loss"]["lambda_pattern"]) == ("none", 0.0)
    scores = score(run / "checkpoints" / "last.pt", segmenter=segmenter_file, device="cpu")
    assert scores.segmentation is not None
    assert scores.segmentation_real is not None
    assert scores.segmentation_real.mean_iou > 0.4 > 2 * scores.segmentation.mean_iou
    exporting.export(ExportOptions(source=run / "checkpoints" / "last.pt", output=tmp_path))
    with Translator.load(tmp_path / "model-fp32.onnx", threads=1) as translate:
        assert translate.contract.palette is None
        assert translate(np.zeros((40, 60, 3), np.uint8)).shape == (40, 60, 3)


def test_segmenters_know_the_palette(segmenter_file: Path) -> None:
    """What was trained on the label maps is of their palette."""
    assert Segmenter.load(segmenter_file, CPU).contract.palette == CITYSCAPES
