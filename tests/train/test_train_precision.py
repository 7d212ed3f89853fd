"""Which arithmetic a run uses, and what is said about it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from commands import p2p_train
from p2p_train.devices import choose_precision
from p2p_train.training.checkpoint import Checkpoint

CPU = torch.device("cpu")
TINY = "--image-size 32 --batch-size 4 --ngf 4 --ndf 8 --device cpu --workers 0 --max-steps 1"


def pretend(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    """Let torch report a CPU with these capabilities."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_auto_is_bf16_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One of the names of bf16 arithmetic is enough."""
    pretend(monkeypatch, **{name: True}, avx2=True)
    assert choose_precision("auto", CPU) == "bf16"


def test_auto_is_fp32_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that would emulate bf16 gets fp32."""
    pretend(monkeypatch, avx512_bf16=False, avx512_fp16=True)
    assert choose_precision("auto", CPU) == "fp32"


def test_emulated_bf16_is_kept_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asks for bf16 gets it, with a warning that it is slow here."""
    pretend(monkeypatch, avx512_bf16=False)
    with caplog.at_level(logging.WARNING):
        assert choose_precision("bf16", CPU) == "bf16"
    assert "emulated, and slower than fp32" in caplog.text
    caplog.clear()
    pretend(monkeypatch, avx512_bf16=True)
    assert choose_precision("bf16", CPU) == "bf16"
    assert not caplog.text


def test_a_run_keeps_what_auto_chose(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint names the precision, and a resumed run stays with it on any machine."""
    monkeypatch.chdir(tmp_path)
    pretend(monkeypatch, avx512_bf16=False)
    p2p_train(f"--recipe edge {TINY} --run-dir run --data", data)
    pretend(monkeypatch, avx512_bf16=True)
    again = "--resume run --max-steps 2 --device cpu --workers 0 --precision auto"
    p2p_train(again)
    checkpoint = Checkpoint.load(tmp_path / "run/checkpoints/last.pt")
    assert (checkpoint.progress["step"], checkpoint.config.optim.precision) == (2, "fp32")
