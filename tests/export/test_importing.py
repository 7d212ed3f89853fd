"""p2p-export --from-pytorch-cyclegan-and-pix2pix, from a file to a bundle that runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from commands import p2p_export
from p2p_export import exporting
from p2p_export.graph.tracing import Graph
from p2p_export.options import ExportOptions
from p2p_export.parity import compare
from p2p_runtime.errors import ParityError
from p2p_runtime.files import write_bytes
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.translator import Translator
from p2p_train.scenes import draw_scene
from reference_networks import resnet, trained, unet, without_dropout

FROM = "--from-pytorch-cyclegan-and-pix2pix"


def saved(network: nn.Module, folder: Path) -> Path:
    """Save a network as that repository does."""
    path = folder / "latest_net_G.pth"
    torch.save(network.state_dict(), path)
    return path


def answer(network: nn.Module, frame: np.ndarray) -> np.ndarray:
    """Run a network on one BGR frame as that repository would: RGB, mean and deviation 0.5."""
    rgb = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        image = network((rgb - 0.5) / 0.5)[0]
    rgb = ((image + 1) / 2 * 255).round().clamp(0, 255).to(torch.uint8)
    return rgb.permute(1, 2, 0).numpy()[..., ::-1].copy()


def photos(folder: Path, count: int = 8) -> Path:
    """Draw pictures that are no label maps."""
    folder.mkdir()
    for seed in range(count):
        png = cv2.imencode(".png", draw_scene(seed, 64, 64)[1])[1]
        write_bytes(folder / f"{seed}.png", png.tobytes())
    return folder


def test_a_unet_becomes_bundles_that_answer_as_the_repository(tmp_path: Path):
    """fp32 and int8 of a BatchNorm U-Net with running statistics, on drawn label maps.

    An unseen frame passes the gates; in int8, one value in a thousand may be further off.
    """
    network = trained(unet(7, 2, "batch"))
    folder = tmp_path / "labels"
    folder.mkdir()
    for seed in range(12):
        png = cv2.imencode(".png", draw_scene(seed, 128, 128)[0])[1]
        write_bytes(folder / f"{seed}.png", png.tobytes())
    words = ["--netG", "unet_128", "--statistics", "running", "--palette", "cityscapes"]
    words += ["--int8", "--calibration", folder]
    done = p2p_export(FROM, saved(network, tmp_path), *words)
    assert "running statistics, no dropout" in done.stderr
    assert "drawn street scenes" in done.stderr
    frame = draw_scene(77, 128, 128)[0]
    expected = answer(network, frame)
    for precision, share, most in (("fp32", 1.0, 1), ("int8", 0.999, 16)):
        with Translator.load(tmp_path / "export" / f"model-{precision}.onnx") as translator:
            image = translator(frame)
        compare(expected[None], image[None], precision=precision).require()
        assert np.quantile(np.abs(image.astype(int) - expected), share) <= most, precision
    shown = p2p_export("--inspect", tmp_path / "export" / "model-fp32.onnx").stdout
    assert "unet_128" in shown
    assert "running statistics" in shown


def test_a_resnet_with_frame_statistics_becomes_a_bundle(tmp_path: Path):
    """What its test script computes, off-square, on pictures; the file names the function."""
    network = without_dropout(trained(resnet(6, 2, "batch", dropout=True), size=64)).train()
    words = ["--netG", "resnet_6blocks", "--size", "96x64", "--palette", "none"]
    words += ["--frames", photos(tmp_path / "photos"), "--fp16", "--output", tmp_path / "out"]
    done = p2p_export(FROM, saved(network, tmp_path), *words)
    assert "each frame's own statistics, no dropout" in done.stderr
    frame = draw_scene(77, 64, 96)[1]
    expected = answer(network, frame)
    for precision, most in (("fp32", 1), ("fp16", 6)):
        with Translator.load(tmp_path / "out" / f"model-{precision}.onnx") as translator:
            assert np.abs(translator(frame).astype(int) - expected).max() <= most, precision
            assert translator.contract == PixelContract(
                height=64, width=96, palette=None, direction="A to B"
            )


def test_fault_127_a_grey_unet_without_norm_becomes_bundles(tmp_path: Path):
    """One channel in and out, nested in a file of a whole training: fp32 and int8 agree with it."""
    network = unet(7, 2, "none", channels=(1, 1), dropout=False)
    with torch.no_grad():
        for layer in network.modules():
            if hasattr(layer, "weight"):
                layer.weight *= 1.8
    path = tmp_path / "epoch_20.ckpt"
    torch.save(
        {"epoch": 20, "state_dict": {f"netG.{k}": v for k, v in network.state_dict().items()}}, path
    )
    words = ["--netG", "unet_128", "--norm", "none", "--palette", "none", "--int8"]
    frames = photos(tmp_path / "photos", 9)
    done = p2p_export(FROM, path, *words, "--frames", frames, "--calibration", frames)
    assert "no statistics, no dropout" in done.stderr
    frame = cv2.resize(draw_scene(77, 64, 64)[1], (128, 128))
    grey = frame[..., ::-1] @ np.array([0.299, 0.587, 0.114]) / 127.5 - 1
    with torch.inference_mode():
        image = network(torch.from_numpy(grey)[None, None].float())[0, 0].numpy()
    expected = np.repeat(((image + 1) * 127.5).round()[..., None], 3, axis=2).astype(np.uint8)
    assert expected.std() > 4, "the comparison would prove nothing"
    for precision in ("fp32", "int8"):
        with Translator.load(tmp_path / "export" / f"model-{precision}.onnx") as translator:
            image = translator(frame)
        assert np.ptp(image, axis=2).max() == 0
        compare(expected[None], image[None], precision=precision).require()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([FROM, "g.pth"], "--palette"),
        ([FROM, "g.pth", "--palette", "none"], "--frames DIR"),
        (
            [FROM, "g.pth", "--palette", "camvid", "--segmenter", "g.pth"],
            "name a folder with --frames",
        ),
        ([FROM, "g.pth", "--palette", "martian"], "neither a preset"),
        (["run", FROM, "g.pth", "--palette", "none"], "not both"),
        (
            ["--norm", "batch"],
            f"takes this; name it with {FROM}",
        ),
        ([FROM, "g.pth", "--palette", "none", "--size", "192"], "nearest: 128x128 and 256x256"),
        (
            [FROM, "g.pth", "--palette", "none", "--netG", "resnet_6blocks", "--size", "66"],
            "multiples of 4",
        ),
        (
            [FROM, "g.pth", "--palette", "none", "--norm", "instance", "--statistics", "running"],
            "no running statistics",
        ),
        (
            f"{FROM} g.pth --palette none --netG resnet_6blocks --int8 --calibration .".split(),
            "--int8 is for U-Nets",
        ),
        ([FROM, "g.pth", "--palette", "none", "--norm", "instance"], "It fits --netG unet_128"),
        ([FROM, "missing.pth", "--palette", "none"], "does not exist"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(words, message, tmp_path, monkeypatch):
    """Exit code 2, one line on stderr, and no folder is made."""
    monkeypatch.chdir(tmp_path)
    torch.save(unet(7, 1, "batch").state_dict(), "g.pth")
    if "--netG" not in words and FROM in words:
        words = [*words, "--netG", "unet_128"]
    done = p2p_export(*words, exit_code=2)
    assert message in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["g.pth"]


@pytest.mark.parametrize("content", [{}, {"model.1.weight": torch.zeros(1)}, {"state_dict": {}}])
def test_fault_130_weights_without_their_flag_are_named(content, tmp_path: Path):
    """A file of another project is said to be one, with the flag that imports it."""
    torch.save(content, tmp_path / "g.pth")
    done = p2p_export(tmp_path / "g.pth", exit_code=2)
    assert FROM in done.stderr.splitlines()[-1]
    assert "schema" not in done.stderr


@pytest.mark.parametrize("words", [(), (FROM,)])
@pytest.mark.parametrize("script", [True, False])
def test_fault_130_a_torchscript_file_gets_advice_of_our_own(words, script, tmp_path: Path):
    """TorchScript or pickled: torch's advice, to switch the protection off, is not passed on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if script:
            torch.jit.script(nn.Linear(1, 1)).save(str(tmp_path / "g.pth"))
        else:
            torch.save(nn.Linear(1, 1), tmp_path / "g.pth")
    done = p2p_export(
        *words, tmp_path / "g.pth", *(("--palette", "none") if words else ()), exit_code=2
    )
    assert "state_dict()" in done.stderr.splitlines()[-1]
    assert "weights_only" not in done.stderr


@pytest.mark.parametrize(
    ("precision", "norm", "statistics", "named"),
    [
        ("int8", "batch", "frame", True),
        ("int8", "batch", "running", False),
        ("int8", "instance", "frame", False),
        ("fp32", "batch", "frame", False),
    ],
)
def test_fault_130_the_way_out_of_int8s_gates_is_named(
    precision, norm, statistics, named, monkeypatch, tmp_path: Path
):
    """Running statistics are named where they exist and are not in use."""

    def refuse(*_: object) -> None:
        raise ParityError("28.7 dB")

    monkeypatch.setattr(exporting, "write_bundle", refuse)
    monkeypatch.setattr(exporting, "_make_graph", lambda *_: Graph(content=b""))
    torch.save(unet(7, 1, norm).state_dict(), tmp_path / "g.pth")
    words = [FROM, tmp_path / "g.pth", "--palette", "cityscapes", "--netG", "unet_128"]
    words += ["--norm", norm, *(["--statistics", statistics] if norm == "batch" else [])]
    if precision == "int8":
        words += ["--int8", "--calibration", photos(tmp_path / "photos")]
    if precision == "int8":
        monkeypatch.setattr(ExportOptions, "output_paths", lambda *_: {"int8": tmp_path / "m.onnx"})
    done = p2p_export(*words, exit_code=2)
    assert "28.7 dB" in done.stderr
    assert ("--statistics running" in done.stderr) is named
