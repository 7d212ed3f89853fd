"""Checkpoints of pytorch-CycleGAN-and-pix2pix: the same function, or a clear refusal."""

from __future__ import annotations

import io
import os
import pickle
import random
from pathlib import Path

import pytest
import torch

from p2p_export.importers.checkpoint import build, read_state
from p2p_export.importers.options import ImportOptions
from p2p_runtime.errors import CheckpointError
from reference_networks import resnet, trained, unet, without_dropout


def described(net: str, norm: str = "batch", **more: object) -> ImportOptions:
    """Return the description of a file."""
    return ImportOptions(path=Path("g.pth"), palette="none", net=net, norm=norm, **more)


NETWORKS = {
    "unet_128": lambda norm, **more: unet(7, 2, norm, **more),
    "resnet_6blocks": lambda norm, **more: resnet(6, 2, norm, **more),
}


def signal(batch: int = 1, height: int = 128, width: int = 128) -> torch.Tensor:
    """Return a smooth-edged random signal, (batch, 3, height, width) in [-1, 1]."""
    torch.manual_seed(1)
    return torch.rand(batch, 3, height, width) * 2 - 1


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Return the state dict of a trained unet_128 with BatchNorm."""
    return dict(trained(unet(7, 2, "batch")).state_dict())


@torch.inference_mode()
@pytest.mark.parametrize("net", NETWORKS)
@pytest.mark.parametrize("dropout", [False, True])
def test_running_statistics_are_the_repositorys_eval_mode(net, dropout):
    """Signals are those of the network there in eval mode, to 1e-5, on a batch and off-square."""
    there = trained(NETWORKS[net]("batch", dropout=dropout))
    here = build(described(net, statistics="running"), there.state_dict())
    frames = signal(2, 128, 256)
    expected = there(frames.clone())
    assert expected.std() > 0.1, "the comparison would prove nothing"
    torch.testing.assert_close(here(frames), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("net", NETWORKS)
def test_frame_statistics_are_the_repositorys_train_mode(net):
    """Signals are those of its test script: training mode, one frame a batch, dropout aside."""
    there = trained(NETWORKS[net]("batch", dropout=True))
    here = build(described(net), dict(there.state_dict()))
    frames = signal(2)
    running = there(frames.clone())
    without_dropout(there).train()
    expected = torch.cat([there(frame[None].clone()) for frame in frames])
    assert (expected - running).abs().max() > 0.1, "the two functions would be one"
    torch.testing.assert_close(here(frames), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("net", NETWORKS)
def test_instance_norm_is_read_and_its_old_statistics_are_not(net, tracked):
    """Running statistics that InstanceNorm kept in 2018 change nothing."""
    there = without_dropout(trained(NETWORKS[net]("instance", tracked=tracked)).train())
    saved = dict(there.state_dict())
    assert tracked == any("running_mean" in key for key in saved)
    here = build(described(net, "instance"), saved)
    torch.testing.assert_close(here(signal()), there(signal()), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_negative_skip_is_rectified(state):
    """Our own U-Net rule on the same weights gives another picture: the difference is tested."""
    here = build(described("unet_128", statistics="running"), state)
    image = here(signal())
    here.skip = lambda signal: signal
    assert (image - here(signal())).abs().max() > 0.05


@pytest.mark.parametrize("old_format", [False, True])
def test_files_of_one_and_of_several_gpus_are_read(old_format, state, tmp_path):
    """The prefix of DataParallel goes; torch's format from before 1.6 is read, too."""
    path = tmp_path / "latest_net_G.pth"
    saved = {f"module.{key}": value for key, value in state.items()}
    torch.save(saved, path, _use_new_zipfile_serialization=not old_format)
    read = read_state(path, described("unet_128"))
    assert read.keys() == state.keys()
    assert torch.equal(read["model.model.0.weight"], state["model.model.0.weight"])


@pytest.mark.parametrize(
    ("net", "norm", "difference"),
    [
        ("unet_128", "instance", "model.model.0.bias is missing"),
        ("unet_256", "batch", r"model\.3\.model\.\d\.\w+ is missing"),
        ("resnet_9blocks", "batch", "model.1.weight is missing"),
    ],
)
def test_a_wrong_description_is_said_and_the_right_one_named(net, norm, difference, state):
    """The message begins with what differs and ends with the flags that fit."""
    with pytest.raises(CheckpointError, match=difference) as caught:
        build(described(net, norm), state)
    assert str(caught.value).endswith("It fits --netG unet_128 --norm batch")


def test_another_network_has_no_hint(state):
    """A discriminator fits no description; of a layer of another shape, both are said."""
    with pytest.raises(CheckpointError, match=r"model\.model\.0\.weight is missing") as caught:
        build(described("unet_128"), {"model.0.weight": torch.zeros(64, 6, 4, 4)})
    assert "It fits" not in str(caught.value)
    wide = {**state, "model.model.0.weight": torch.zeros(2, 3, 6, 6)}
    with pytest.raises(CheckpointError, match=r"shape \(2, 3, 6, 6\), not \(2, 3, 4, 4\)"):
        build(described("unet_128"), wide)


class Trap:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("old_format", [False, True])
def test_fault_08_a_pickle_that_executes_is_refused(old_format, state, tmp_path, monkeypatch):
    """Nothing in the file runs, in either format."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "trap.pth"
    torch.save({**state, "trap": Trap()}, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        read_state(path, described("unet_128"))
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_state_dict_is_refused(state, tmp_path):
    """A bare pickle, a dict of others, an empty one, a list, nothing at all."""
    path = tmp_path / "latest_net_G.pth"
    with pytest.raises(CheckpointError, match="does not exist"):
        read_state(path, described("unet_128"))
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="not a complete torch file"):
        read_state(path, described("unet_128"))
    for content in ({"epoch": 3}, {}, [1, 2], torch.zeros(1)):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r"not a generator's state dict.*holds none$"):
            read_state(path, described("unet_128"))


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused(old_format, share, state, tmp_path):
    """A download that ended early is named so, whatever was cut."""
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=not old_format)
    path = tmp_path / "short.pth"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(CheckpointError, match=r"short\.pth"):
        read_state(path, described("unet_128"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, on what the flips made of the file
def test_flipped_bytes_end_in_one_error(state, tmp_path):
    """A damaged file of the old format, which has no checksums, never ends in a traceback."""
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    path, draw, refused = tmp_path / "flipped.pth", random.Random(0), 0
    for _ in range(60):
        content = bytearray(buffer.getvalue())
        for _ in range(5):
            content[draw.randrange(15, 6000)] = draw.randrange(256)
        path.write_bytes(content)
        try:
            read_state(path, described("unet_128"))
        except CheckpointError:
            refused += 1
    assert refused > 10
