"""The model that the package ships for a first look."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.translate.discover import DEMO_MODELS, find_bundle, find_bundles
from p2p_runtime.translate.translator import Translator


@pytest.fixture
def demo(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    """What is taken where nothing was ever exported."""
    with caplog.at_level("INFO"):
        path = find_bundle(None, "cpu", runs=tmp_path / "runs")
    assert "demo model" in caplog.text
    return path


def test_without_any_export_the_demo_translates_a_frame(demo: Path) -> None:
    """The demo reads Cityscapes colours, of any size, and answers with a picture."""
    frame = CITYSCAPES.colours_bgr()[np.indices((90, 120)).sum(axis=0) // 20 % 29]
    with Translator.load(demo, threads=1) as translate:
        assert translate.contract.palette == CITYSCAPES
        picture = translate(frame)
    assert picture.shape == (90, 120, 3)
    assert picture.std() > 5


@pytest.mark.parametrize(("precision", "least_db"), [("fp16", 50), ("int8", 40)])
def test_the_demo_says_where_it_comes_from_without_naming_a_machine(
    precision: str, least_db: float
) -> None:
    """Provenance and parity are in each file; no path of the exporting machine is."""
    demo = DEMO_MODELS / f"demo-{precision}.onnx"
    info = ModelBundle.load(demo).info
    assert info.provenance["images_seen"] > 0
    assert info.parity["worst_psnr_db"] > least_db
    assert not re.search(rb"/(home|root|tmp|work|usr)/", demo.read_bytes())


def test_both_demo_models_are_one_generator() -> None:
    """A CPU's model and a GPU's are exports of the same checkpoint."""
    infos = [ModelBundle.load(path).info for path in find_bundles(DEMO_MODELS)]
    assert [info.precision for info in infos] == ["fp16", "int8"]
    assert len({info.provenance["checkpoint_sha256"] for info in infos}) == 1
