"""CARLA in synchronous mode: true pairs, exact counts, and a simulator that is left as it was."""

from __future__ import annotations

import json
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import fake_carla
from commands import Run, finished
from fake_carla import Server, WorldSettings, frame_of_bits
from p2p_runtime.errors import MissingExtraError, SinkError, SourceLostError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.pipeline import run_pipeline
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameSink, FrameTask
from p2p_runtime.video.live import LivePolicy
from p2p_runtime.video.sinks.plain import NullSink
from p2p_runtime.video.sources import open_source
from p2p_runtime.video.sources.carla import CarlaSource
from terminal import surroundings
from toy_runtime import Inverter

SIZE = "size=64x64"
SKY = CITYSCAPES.colours_bgr()[CITYSCAPES.classes.index("sky")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A new simulator, and the fake package in place of CARLA's."""
    return fake_carla.started(monkeypatch)


@pytest.fixture
def translate(toy_run: Run) -> Run:
    """Return a function that translates a simulator with the toy model, in the test's folder."""
    return lambda query, *words, **end: toy_run(
        "--video", f"carla://simulator{query}", *words, **end
    )


def opened(query: str = f"?{SIZE}", **policy: Any) -> CarlaSource:
    """Open the simulator for a model with Cityscapes' palette."""
    labels = LabelReader(CITYSCAPES, ids="carla")
    source = open_source(f"carla://simulator{query}", labels=labels, policy=LivePolicy(**policy))
    assert isinstance(source, CarlaSource)
    return source


def seen(task: FrameTask) -> int:
    """Return the number of the frame that a picture shows."""
    assert isinstance(task.picture, np.ndarray)
    return frame_of_bits((task.picture == SKY).all(axis=2))


def stored(path: Path) -> NDArray[np.uint8]:
    """Return a PNG as it is stored."""
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def with_faults(server: Server, ticks: int) -> dict[str, set[int]]:
    """Let 5 % of the frames come late, 2 % never and 1 % twice, by one camera or both."""
    rng = random.Random(26)
    frames = rng.sample(range(server.frame + 1, server.frame + ticks), ticks * 8 // 100)
    parts = {"late": ticks * 5 // 100, "lost": ticks * 2 // 100, "doubled": ticks // 100}
    found: dict[str, set[int]] = {}
    for fault, count in parts.items():
        found[fault], frames = set(frames[:count]), frames[count:]
        for frame in found[fault]:
            for kind in rng.choice([("label",), ("rgb",), ("label", "rgb")]):
                server.faults[frame, kind] = fault
    return found


def test_every_pair_that_is_written_is_a_true_pair(
    server: Server, translate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 500 ticks with late, lost and doubled frames, label, rgb, photo and pose go together."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # it takes most of the time
    faults = with_faults(server, 500)
    gone = faults["late"] | faults["lost"]
    done = translate(
        f"?{SIZE}&save=set", "--stall-timeout", 0.05, "--max-frames", 500 - len(gone),
        "--output", "null:", "--report", "report.json", "--strict", exit_code=5,
    )  # fmt: skip
    assert server.calls.count("tick") == 500
    report = json.loads(Path("report.json").read_text())
    assert (report["frames_out"], report["frames_lost"]) == (465, 35)
    assert (report["run"]["frames_late"], report["run"]["frames_doubled"]) == (25, 5)
    assert report["run"]["simulator"] == "CARLA 0.9.16"
    assert "35 frames could not be read" in done.stderr
    poses = [json.loads(line) for line in Path("set/poses.jsonl").read_text().splitlines()]
    frames = [pose["frame"] for pose in poses]
    assert frames == [frame for frame in range(1001, 1501) if frame not in gone]
    assert [pose["x_m"] for pose in poses] == frames
    for frame in frames:
        label, rgb, photo = (
            stored(Path(f"set/{kind}/{frame:08d}.png")) for kind in ("label", "rgb", "photo")
        )
        assert frame_of_bits(label == fake_carla.SKY) == frame
        assert (rgb == (frame & 255, frame >> 8, 7)).all()
        assert frame_of_bits((photo == 255 - SKY).all(axis=2)) == frame
    for kind in ("label", "rgb", "photo"):
        assert len(list(Path("set", kind).iterdir())) == 465


def test_the_images_of_a_frame_are_waited_for(server: Server) -> None:
    """A frame whose images come within the stall time-out is no loss, and is itself."""
    server.faults = {(frame, "label"): "slow" for frame in range(1001, 1006)}
    source = opened(stall_timeout_s=60)
    frames = iter(source)
    assert [seen(next(frames)) for _ in range(8)] == [*range(1001, 1009)]
    assert source.frames_lost == 0
    source.close()


def test_the_world_waits_until_a_frame_is_translated(
    server: Server, contract: PixelContract
) -> None:
    """The simulator is at frame N while N is translated, as those who drive by it need."""
    pairs: list[tuple[int, int]] = []

    class Witness(Inverter):
        def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
            pairs.append((frame_of_bits((frames[0] == SKY).all(axis=2)), server.frame))
            return super().infer(frames)

    source = opened()
    with Translator(contract, Witness()) as translator:
        run_pipeline(source, translator, NullSink(), max_frames=20)
    source.close()
    assert pairs == [(frame, frame) for frame in range(1001, 1021)]


def test_times_are_those_of_the_simulation(server: Server) -> None:
    """Frames are a step of the world apart, and a lost one leaves its gap."""
    server.faults = {(1002, "label"): "lost"}
    source = opened(f"?{SIZE}&fps=10", stall_timeout_s=0.02)
    frames = iter(source)
    assert [round(next(frames).timestamp_s, 6) for _ in range(3)] == [0.0, 0.2, 0.3]
    assert server.settings == WorldSettings(True, 0.1)
    source.close()
    server.settings.fixed_delta_seconds = 0.025
    assert opened().info.fps == 40


class Full(FrameSink):
    """An output that has no room."""

    def write(self, task: FrameTask) -> None:
        raise SinkError("full")


@pytest.mark.parametrize("end", ["last frame", "closed output", "lost simulator", "deaf cameras"])
def test_the_simulator_is_left_as_it_was(
    end: str, server: Server, translate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings and cameras are those of before, however a run ends."""
    server.settings = WorldSettings(False, 0.04)
    before = server.state()
    if end == "closed output":
        monkeypatch.setattr("p2p_runtime.app.run.open_sink", lambda *_, **__: Full())
    server.fails = {"lost simulator": {"tick": 1005}, "deaf cameras": {"listen": 1000}}.get(end, {})
    expected = {"last frame": 0, "closed output": 3}.get(end, 6)
    translate(f"?{SIZE}", "--max-frames", 10, "--output", "out.mp4", exit_code=expected)
    assert "spawn_actor" in server.calls
    assert server.state() == before


def test_ctrl_c_leaves_the_simulator_as_it_was(bundle: Path, tmp_path: Path) -> None:
    """A run that is interrupted finishes its video and undoes its changes."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, signal, sys, fake_carla\n"
        "sys.modules['carla'] = fake_carla\n"
        "server, tick = fake_carla.server, fake_carla.World.tick\n"
        "before = server.state()\n"
        "def interrupted(world, seconds):\n"
        "    if server.frame == 1010:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return tick(world, seconds)\n"
        "fake_carla.World.tick = interrupted\n"
        "from p2p_runtime.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print('as before', server.state() == before, 'spawn_actor' in server.calls)\n"
    )
    toys = str(Path(fake_carla.__file__).parent)
    surrounding = surroundings()
    surrounding["PYTHONPATH"] += f":{toys}"
    words = ["--video", f"carla://simulator?{SIZE}", "--model", str(bundle), "--output", "a.mp4"]
    program = (sys.executable, script, *words)
    done = finished(*program, exit_code=128 + signal.SIGINT, cwd=tmp_path, env=surrounding)
    assert "as before True True" in done.stdout
    assert (tmp_path / "a.mp4").is_file()


def test_what_cannot_be_undone_is_told(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A simulator that has gone is not waited for at each call, and the rest is tried."""
    source = opened()
    frames = iter(source)
    next(frames)
    server.fails = dict.fromkeys(("tick", "stop", "apply_settings"), 0)
    with pytest.raises(SourceLostError, match=r"carla://simulator:2000: time-out of 10000ms"):
        next(frames)
    source.close()
    assert server.calls[-3:] == ["stop", "apply_settings", "destroy"]
    assert server.timeout_s == 1.0
    assert "may be left synchronous" in caplog.text
    source.close()


def test_cameras_that_give_nothing_are_given_up(server: Server) -> None:
    """After --reconnect-for without a frame, the source is lost."""
    server.faults = {(frame, "label"): "lost" for frame in range(1001, 1100)}
    source = opened(stall_timeout_s=0.01, reconnect_for_s=0)
    with pytest.raises(SourceLostError, match="its cameras give no frame"):
        next(iter(source))
    source.close()


def test_a_camera_is_found_by_role_or_id_and_copied(server: Server) -> None:
    """Ours stands where an existing camera stands, with its lens; a URL may say otherwise."""
    lens = {"image_size_x": "320", "image_size_y": "200", "fov": "60.0"}
    there = server.add(
        fake_carla.Sensor, "sensor.camera.rgb", {"role_name": "front", "sensor_tick": "1", **lens}
    )
    for query in ("?camera=front", f"?camera={there.id}"):
        source = opened(query)
        assert (source.info.width, source.info.height) == (320, 200)
        iter(source)
        ours = server.actors[-1]
        assert server.where[ours.id] == (fake_carla.Transform(), there)
        assert ours.attributes == lens
        source.close()
    source = opened("?camera=front&size=64x48&fov=100")
    assert (source.info.width, source.info.height) == (64, 48)
    iter(source)
    assert server.actors[-1].attributes["fov"] == "100"
    source.close()
    hood = opened("?camera=hero")
    iter(hood)
    place, parent = server.where[server.actors[-1].id]
    assert (place.location.x, place.location.z, parent) == (1.5, 2.4, server.actors[0])
    assert (hood.info.width, hood.info.height) == (800, 600)
    hood.close()


def test_a_model_without_palette_gets_the_rgb_camera(server: Server) -> None:
    """What turns rendered pictures into photos needs no labels, so no semantic camera runs."""
    source = open_source(f"carla://simulator?{SIZE}", labels=None)
    picture = next(iter(source)).picture
    assert isinstance(picture, np.ndarray)
    assert (picture == (1001 & 255, 1001 >> 8, 7)).all()
    assert [actor.type_id for actor in server.actors[1:]] == ["sensor.camera.rgb"]
    source.close()


@pytest.mark.parametrize(
    ("query", "words", "complaint"),
    [
        ("?camra=hero", (), "camra=hero is not understood; write carla://HOST"),
        ("?size=64", (), "size=64 is not"),
        ("?fps=5", (), "fps=5 is not"),
        ("?fps=241", (), "fps=241 is not"),
        ("?fov=180", (), "fov=180 is not"),
        ("?camera=", (), "camera= is not"),
        ("?fov=90&fov=80", (), "is not understood"),
        ("/town", (), "carla://simulator/town is not"),
        ("?camera=back", (), "0 are called back; there are id 100 (vehicle.audi.a2 hero)"),
        ("?save=.", (), ". is not empty; a data set"),
        ("", ("--labels", "colour"), "leave --labels colour out"),
        ("", ("--drop", "latest"), "--drop latest needs a live source; a simulator waits"),
        ("", ("--size", "64x64"), "--size is for raw frames"),
    ],
)
def test_what_cannot_be_is_one_line(
    query: str, words: tuple[str, ...], complaint: str, server: Server,
    translate: Run,
) -> None:  # fmt: skip
    """Unknown options, absent cameras and flags of other sources end the run before any change."""
    before = server.state()
    code = 3 if query == "?save=." else 2
    done = translate(query, *words, "--output", "null:", exit_code=code)
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert server.state() == before
    assert not {"spawn_actor", "apply_settings", "tick"} & set(server.calls)


def test_two_of_one_name_are_told_apart_by_id(server: Server, translate: Run) -> None:
    """Cameras have the role front unless they are given another."""
    for kind in ("rgb", "depth"):
        server.add(fake_carla.Sensor, f"sensor.camera.{kind}", {"role_name": "front"})
    done = translate("?camera=front", "--output", "null:", exit_code=2)
    assert "2 are called front; there are id 100" in done.stderr
    assert "id 101 (sensor.camera.rgb front), id 102 (sensor.camera.depth front)" in done.stderr


@pytest.mark.parametrize(("version", "code"), [("0.9.15", 2), ("0.9.16-12-gabc", 0), ("abc", 2)])
def test_client_and_simulator_are_of_one_version(
    version: str, code: int, server: Server, translate: Run
) -> None:
    """CARLA itself only warns, and then fails somewhere else; builds of one version go together."""
    server.version = version
    done = translate(f"?{SIZE}", "--output", "null:", "--max-frames", 2, exit_code=code)
    assert code == 0 or f"CARLA {version} needs its package carla, not 0.9.16" in done.stderr


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pip command stands in the error."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "pix2pix-edge\[carla\]"'):
        opened()


@pytest.mark.parametrize("call", ["Client", "get_server_version", "get_world"])
def test_a_simulator_that_is_absent_is_a_lost_source(
    call: str, server: Server, translate: Run
) -> None:
    """The exit code is 6, as for a camera that is not there."""
    server.fails = {call: 0}
    done = translate("", "--output", "null:", "--stall-timeout", 3, exit_code=6)
    assert done.stderr.splitlines()[-1].startswith("error: carla://simulator:2000: time-out")


def test_what_is_saved_is_the_model_s_picture_alone(server: Server, translate: Run) -> None:
    """Neither the input beside it nor the figures drawn on it go into the data set."""
    for number, flag in enumerate(("--side-by-side", "--overlay")):
        shown, saved = f"shown-{number}", f"set-{number}"
        translate(f"?{SIZE}&save={saved}", flag, "--max-frames", 2, "--output", shown)
        (path,) = (path for path in Path(saved, "photo").iterdir() if int(path.stem) % 2 == 0)
        photo = stored(path)
        assert frame_of_bits((photo == 255 - SKY).all(axis=2)) == int(path.stem)
        assert len(np.unique(photo.reshape(-1, 3), axis=0)) == 2  # road and sky
        assert not np.array_equal(photo, stored(Path(shown, path.name)))


@pytest.fixture
def real() -> Iterator[Any]:
    """CARLA's own package."""
    yield pytest.importorskip("carla", reason="the extra carla is not installed")


def test_the_fake_has_names_of_the_real_package_only(real: Any) -> None:
    """Every class, attribute and method that the bridge meets exists in CARLA's package."""
    missing = []
    for name in fake_carla.__all__:
        ours, theirs = getattr(fake_carla, name), getattr(real, name, None)
        attributes = {key for key in dir(ours) if not key.startswith("_")} - set(dir(list))
        attributes |= {key for key in getattr(ours, "__annotations__", ()) if key[0] != "_"}
        own = {"value"} if name == "ActorAttribute" else set()
        missing += [f"{name}.{one}" for one in sorted(attributes - own) if not hasattr(theirs, one)]
    assert missing == []
    assert hasattr(real.ActorList, "filter")


def test_the_real_package_takes_what_the_bridge_gives(real: Any) -> None:
    """Settings and places can be made, tags have the known numbers, and absence is an error."""
    settings = real.WorldSettings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    place = real.Transform(real.Location(1.5, 0.0, 2.4))
    assert place.location.z == pytest.approx(2.4)
    real.Transform(real.Location())
    assert (int(real.CityObjectLabel.Roads), int(real.CityObjectLabel.GuardRail)) == (1, 28)
    policy = LivePolicy(stall_timeout_s=0.2)
    for host, why in (("127.0.0.1:1", "time-out of 200ms"), ("nowhere.invalid", "Host not found")):
        with pytest.raises(SourceLostError, match=why):
            open_source(f"carla://{host}", labels=None, policy=policy)
