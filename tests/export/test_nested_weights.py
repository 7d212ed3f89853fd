"""Generators in files as people have them: within others, wrapped, grey, deeper, without norm."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from p2p_export.importers.checkpoint import build, load_imported, read_state
from p2p_export.importers.options import SOURCE_FLAG, ImportOptions
from p2p_runtime.errors import CheckpointError, ConfigError
from reference_networks import resnet, trained, unet
from toy_export import write_checkpoint

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
State = dict[str, torch.Tensor]


def described(net: str = "unet_128", norm: str = "batch", **more: Any) -> ImportOptions:
    """Return the description of a file."""
    return ImportOptions(path=Path("g.pth"), palette="none", net=net, norm=norm, **more)


@pytest.fixture(scope="module")
def state() -> State:
    """Return the weights of a trained unet_128."""
    return dict(trained(unet(7, 2, "batch")).state_dict())


def under(prefix: str, state: State) -> State:
    """Return the weights with a prefix to each name."""
    return {f"{prefix}{key}": value for key, value in state.items()}


DISCRIMINATOR = {"model.0.weight": torch.zeros(64, 6, 4, 4), "model.2.weight": torch.zeros(128)}
FORMS: dict[str, Any] = {
    "compiled": lambda g: under("_orig_mod.", g),
    "compiled on several GPUs": lambda g: under("module._orig_mod.", g),
    "compiled inside": lambda g: {k.replace("model.", "model._orig_mod.", 1): g[k] for k in g},
    "state_dict": lambda g: {"epoch": 3, "state_dict": g},
    "netG": lambda g: {"netG": g, "netD": DISCRIMINATOR, "optimizer": {"state": {0: g["x"]}}},
    "model in a list": lambda g: {"model": [DISCRIMINATOR, under("module.", g)]},
    "Lightning": lambda g: {"state_dict": under("generator.", g) | under("critic.", DISCRIMINATOR)},
    "a network within a network": lambda g: under("model.", g),
    "averaged": lambda g: {"n_averaged": torch.tensor(5), **under("module.", g)},
    "the same under two names": lambda g: {"params": g, "params_ema": OrderedDict(g)},
}


@pytest.mark.parametrize("form", FORMS)
def test_fault_127_the_one_generator_in_a_file_is_found(form: str, state: State, tmp_path: Path):
    """Whatever lies around it, its weights are read by that repository's names."""
    path = tmp_path / "g.pth"
    known = state | {"x": torch.zeros(1)} if form == "netG" else state
    torch.save(FORMS[form](known), path)
    read = read_state(path, described())
    assert read.keys() - {"x"} == state.keys()
    assert all(torch.equal(read[key], value.float()) for key, value in state.items())


def test_fault_127_half_precision_is_read_as_float(state: State, tmp_path: Path):
    """Weights in 16 bits compute in 32."""
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "g.pth")
    read = read_state(tmp_path / "g.pth", described())
    assert {value.dtype for value in read.values()} == {torch.float32}
    build(described(), read)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("netG_A.", "netG_B."), r"netG_A, netG_B"),
        (("", "module."), r"module, the file itself"),
    ],
)
def test_fault_127_several_generators_are_named(names, said, state: State, tmp_path: Path):
    """No guess which of them is meant, be they beside each other or in dicts."""
    other = {key: value + 1 for key, value in state.items()}
    flat = under(names[0], state) | under(names[1], other)
    nested = {"params": state, "params_ema": other}
    for content, places in ((flat, said), (nested, "params, params_ema")):
        torch.save(content, tmp_path / "g.pth")
        with pytest.raises(CheckpointError, match=rf"holds 2 generators that fit \({places}\)"):
            read_state(tmp_path / "g.pth", described())


def test_fault_127_what_fits_is_taken_of_two_networks(state: State, tmp_path: Path):
    """A second generator of another kind does not stand in the way."""
    torch.save({"netG": state, "teacher": resnet(6, 2, "batch").state_dict()}, tmp_path / "g.pth")
    assert read_state(tmp_path / "g.pth", described()).keys() == state.keys()
    read = read_state(tmp_path / "g.pth", described("resnet_6blocks"))
    build(described("resnet_6blocks"), read)


def test_fault_127_a_file_without_a_generator_says_what_it_begins_with(tmp_path: Path):
    """A discriminator, the file beside the right one."""
    for content in (DISCRIMINATOR, {"state_dict": DISCRIMINATOR}):
        torch.save(content, tmp_path / "latest_net_D.pth")
        with pytest.raises(CheckpointError, match=r"begins with model\.0\.weight \(64, 6, 4, 4\)"):
            read_state(tmp_path / "latest_net_D.pth", described())


def test_fault_127_a_file_that_holds_itself_ends(state: State, tmp_path: Path):
    """Dicts within themselves, and thousands of first layers, are read in bounded time."""
    content: dict[str, Any] = {"netG": state}
    content |= {"again": content, "list": [content]}
    torch.save(content, tmp_path / "g.pth")
    assert read_state(tmp_path / "g.pth", described()).keys() == state.keys()
    del content["netG"]
    torch.save(content, tmp_path / "g.pth")
    with pytest.raises(CheckpointError, match=r"holds none$"):
        read_state(tmp_path / "g.pth", described())
    many = {f"{n}.model.model.0.weight": torch.zeros(1) for n in range(3000)}
    torch.save(many, tmp_path / "g.pth")
    with pytest.raises(CheckpointError, match=r"U-Net of 1 downsamplings"):
        build(described(), read_state(tmp_path / "g.pth", described()))


@torch.inference_mode()
@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("net", ["unet_128", "resnet_6blocks"])
def test_fault_127_grey_inputs_and_outputs_are_read(net: str, channels: tuple[int, int]):
    """A layer of one channel becomes one of three that computes the same of a frame's grey."""
    make = {"unet_128": lambda: unet(7, 2, "batch", channels=channels),
            "resnet_6blocks": lambda: resnet(6, 2, "batch", channels=channels)}[net]  # fmt: skip
    there = trained(make())
    here = build(described(net, statistics="running"), there.state_dict())
    frames = torch.rand(2, 3, 128, 128) * 2 - 1
    given = (frames * LUMA).sum(dim=1, keepdim=True) if channels[0] == 1 else frames
    expected = there(given.clone())
    assert expected.std() > 0.1, "the comparison would prove nothing"
    torch.testing.assert_close(here(frames), expected.expand(2, 3, -1, -1), atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("net", ["unet_128", "unet_512", "resnet_6blocks"])
def test_fault_127_no_norm_and_nine_downsamplings_are_read(net: str):
    """The same signals as that repository's network, which has no norm at all."""
    depth = {"unet_128": 7, "unet_512": 9}.get(net)
    there = resnet(6, 2, "none") if depth is None else unet(depth, 2, "none", dropout=False)
    for layer in there.modules():
        if hasattr(layer, "weight"):
            layer.weight *= 4
    here = build(described(net, "none"), there.state_dict()).double()
    frames = torch.rand(1, 3, 512, 512, dtype=torch.float64) * 2 - 1
    expected = there.double()(frames.clone())
    assert expected.std() > 0.02, "the comparison would prove nothing"
    torch.testing.assert_close(here(frames), expected, atol=1e-9, rtol=0)
    assert "no statistics" in described(net, "none").mode


def test_fault_127_running_statistics_need_a_norm():
    """They are refused where there are none."""
    with pytest.raises(ConfigError, match="--norm none has no running statistics"):
        described(norm="none", statistics="running")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: unet(7, 2, "batch", channels=(4, 3)), "U-Net of 7 downsamplings with 4 input and"),
        (lambda: unet(7, 2, "batch", channels=(3, 2)), "3 input and 2 output channels"),
        (lambda: unet(6, 2, "batch"), "U-Net of 6 downsamplings"),
        (lambda: resnet(4, 2, "batch"), "ResNet of 4 blocks with 3 input and 3 output channels"),
        (lambda: resnet(9, 2, "batch", channels=(35, 3)), "ResNet of 9 blocks with 35 input"),
    ],
)
def test_fault_127_what_cannot_be_read_is_said_in_words(network, said: str):
    """One line without names of weights, whatever the flags were."""
    for options in (described(), described("resnet_9blocks", "instance")):
        with pytest.raises(CheckpointError, match=said) as caught:
            build(options, network().state_dict())
        assert "model." not in str(caught.value)
        assert "1 or 3 channels are read" in str(caught.value)


def test_fault_127_grey_outputs_are_in_the_contract(tmp_path: Path):
    """The model says that its pictures have equal channels."""
    for channels in ((3, 1), (1, 3)):
        torch.save(unet(7, 2, "batch", channels=channels).state_dict(), tmp_path / "g.pth")
        options = ImportOptions(path=tmp_path / "g.pth", palette="none", net="unet_128")
        loaded = load_imported(options, draw_frames=False)
        assert loaded.contract.grey == (channels[1] == 1)


def test_fault_127_a_run_of_our_own_is_exported_without_the_flag(tmp_path: Path):
    """No circle of hints: it is said what the file is, and which flag changes its size."""
    path = write_checkpoint(tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=f"leave {SOURCE_FLAG} out; --size"):
        read_state(path, described())
