"""The story of a benchmark, with toys for backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from p2p_bench.cli import main
from p2p_bench.files import Files
from p2p_bench.run import compare, gmac_of
from p2p_runtime.errors import ConfigError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from toy_backends import ToyBackend

CONTRACT = PixelContract(height=32, width=32, palette=CITYSCAPES)
FRAMES = np.full((3, 1, 32, 32, 3), 100, np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A generator that lies there in one precision."""
    bundle = tmp_path / "model-fp32.onnx"
    bundle.write_bytes(bytes(1 << 20))
    return Files(bundles={"fp32": bundle}, checkpoint=None, contract=CONTRACT)


def test_each_backend_gets_a_row_or_a_reason(files: Files):
    """What is not there, not installed or too slow is a row that says so."""
    toys = [
        ToyBackend(name="good"),
        ToyBackend(name="bare", needs="checkpoint"),
        ToyBackend(name="elsewhere", reason="no such chip"),
        ToyBackend(name="other", add=40),
    ]
    good, bare, elsewhere, other = compare(toys, files, FRAMES, 1)
    assert good.latency is not None and good.latency.frames == 3
    assert (good.unavailable, good.psnr_db, good.size_mib) == (None, None, 1.0)
    assert (
        bare.latency is None and bare.unavailable == "there is no checkpoint of this generator here"
    )
    assert elsewhere.unavailable == "no such chip"
    assert other.psnr_db == pytest.approx(20 * np.log10(255 / 40))


def test_a_backend_that_takes_seconds_does_not_hold_up_the_others(files: Files, monkeypatch):
    """It is left out after two frames, and its row says how long the second took."""
    monkeypatch.setattr("p2p_bench.run.TOO_SLOW_MS", 50.0)
    toys = [ToyBackend(name="good"), ToyBackend(name="slow", takes_ms=100)]
    _, slow = compare(toys, files, FRAMES, 1)
    assert slow.latency is None
    assert slow.unavailable == "its second frame took 0.1 s"


def test_what_a_user_named_must_be_there(files: Files):
    """A named backend that is unavailable is an error."""
    toys = [ToyBackend(name="good"), ToyBackend(name="elsewhere", reason="no such chip")]
    with pytest.raises(ConfigError, match="elsewhere cannot be measured here: no such chip"):
        compare(toys, files, FRAMES, 1, required=["elsewhere"])


def test_nothing_to_measure_is_an_error(files: Files):
    """A table without figures is no result."""
    with pytest.raises(ConfigError, match="cannot be measured here: no such chip"):
        compare([ToyBackend(name="elsewhere", reason="no such chip")], files, FRAMES, 1)


def test_work_is_known_for_our_own_network_only(files: Files):
    """Another project's ResNet gets no made-up GMAC."""
    assert gmac_of(files) is None
    shape = {"architecture": "unet", "ngf": 64, "downsamplings": 8}
    contract = PixelContract(height=256, width=256, palette=CITYSCAPES)
    ours = Files(bundles={}, checkpoint=None, contract=contract, generator=shape)
    assert gmac_of(ours) == pytest.approx(6.048, abs=0.001)


@pytest.mark.parametrize("threads", ["20000", "513", "0"])
def test_fault_136_too_many_threads_are_refused_here_too(threads: str) -> None:
    """As p2p-run does: the system would be asked for all of them."""
    result = CliRunner().invoke(main, ["--threads", threads, "--model", "missing"])
    assert result.exit_code == 2
    assert "1<=x<=512" in result.output
