"""The ROS 2 node against a fake rclpy: the newest frame, its header, errors in one line."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pytest
import yaml

from fake_rclpy import FakeRos
from p2p_runtime import Translator
from p2p_runtime.errors import EngineError
from ros_images import image_of, pixels_in
from toy_runtime import label_frame

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

Run = Callable[[FakeRos], object]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the node and returns the exit code."""

    def main(ros: FakeRos) -> object:
        ros.install(monkeypatch)
        with pytest.raises(SystemExit) as leaving:
            importlib.import_module("p2p_ros2.node").main()
        return leaving.value.code

    return main


def images(count: int) -> list[object]:
    """Return so many images with stamps of their own."""
    return [image_of(label_frame(index), index=index) for index in range(count)]


def test_each_image_becomes_a_photo_with_its_header(run: Run, bundle: Path) -> None:
    """One photo an image, in order, with the translator's pixels."""
    labels = images(5)
    ros = FakeRos([[one] for one in labels], {"model": str(bundle), "device": "cpu"})
    assert run(ros) == 0
    assert [topic for topic, _ in ros.published] == ["photo"] * 5
    assert [photo.header for _, photo in ros.published] == [one.header for one in labels]
    with Translator.load(bundle) as translator:
        for index, (_, photo) in enumerate(ros.published):
            np.testing.assert_array_equal(pixels_in(photo), translator(label_frame(index)))
    assert ros.left == ["node", "ros"]


def test_only_the_newest_image_is_kept_while_one_is_translated(run: Run, bundle: Path) -> None:
    """The subscription is one image deep, and otherwise that of sensor data."""
    labels = images(9)
    ros = FakeRos([labels[:1], labels[1:6], labels[6:]], {"model": str(bundle)})
    assert run(ros) == 0
    stamps = [photo.header.stamp.sec - 1_700_000_000 for _, photo in ros.published]
    assert stamps == [0, 5, 8]
    qos = ros.qos["labels"]
    assert (qos.reliability, qos.durability, qos.history) == (
        "BEST_EFFORT",
        "VOLATILE",
        "KEEP_LAST",
    )
    assert ros.qos["photo"] == 1


def test_class_ids_and_label_repair_are_parameters(run: Run, bundle: Path) -> None:
    """CARLA's ids are painted, and colours stay as they are without repair."""
    tags = np.full((48, 64), 7, np.uint8)
    ros = FakeRos([[image_of(tags, "mono8")]], {"model": str(bundle), "ids": "carla"})
    assert run(ros) == 0
    with Translator.load(bundle) as translator:
        np.testing.assert_array_equal(pixels_in(ros.published[0][1]), translator(tags, ids="carla"))
    noisy = label_frame(0)
    noisy[::5, ::5] ^= 3
    photos = []
    for repair_labels in (True, False):
        parameters = {"model": str(bundle), "repair_labels": repair_labels}
        ros = FakeRos([[image_of(noisy)]], parameters)
        assert run(ros) == 0
        photos.append(pixels_in(ros.published[0][1]))
        with Translator.load(bundle, repair_labels=repair_labels) as translator:
            np.testing.assert_array_equal(photos[-1], translator(noisy))
    assert (photos[0] != photos[1]).any()


def test_an_image_that_is_refused_is_told_and_the_next_one_translated(
    run: Run, bundle: Path
) -> None:
    """The line counts them, and comes every few seconds at most."""
    bad = [image_of(label_frame(0), "bayer_rggb8"), image_of(np.zeros((48, 64), np.uint8), "mono8")]
    ros = FakeRos([[bad[0]], [bad[1]], images(1)], {"model": str(bundle)})
    assert run(ros) == 0
    assert len(ros.published) == 1
    assert ros.logged[0][1].startswith("1 image refused; the last one: the encoding is 'bayer")
    assert ros.logged[1][1].startswith("2 images refused; the last one: ")
    assert ros.log_limits_s == [5.0, 5.0]


@pytest.mark.parametrize(
    ("parameters", "exit_code", "line"),
    [
        ({"model": "nothing.onnx"}, 2, "nothing.onnx"),
        ({"model": 5}, 2, "Trying to set parameter 'model' to '5'"),
        ({"device": "cuda"}, 4, "cuda"),
        ({"ids": "carlo"}, 2, "'carlo' is unknown"),
    ],
)
def test_a_wrong_parameter_ends_the_node_with_one_line(
    run: Run, bundle: Path, parameters: dict[str, object], exit_code: int, line: str
) -> None:
    """The exit code is that of p2p-run, and ROS is shut down."""
    ros = FakeRos([images(1)], {"model": str(bundle), **parameters})
    assert run(ros) == exit_code
    ((level, said),) = ros.logged
    assert level == "fatal" and line in said and "\n" not in said
    assert (ros.published, ros.left) == ([], ["ros"])


def test_a_device_that_fails_ends_the_node(
    run: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no other image would change is no reason to go on."""

    def fail(*_: object, **__: object) -> None:
        raise EngineError("the device is gone")

    monkeypatch.setattr(Translator, "__call__", fail)
    ros = FakeRos([images(1)], {"model": str(bundle)})
    assert run(ros) == 1
    assert ros.logged == [("fatal", "the device is gone")]
    assert ros.left == ["node", "ros"]


def test_ctrl_c_ends_the_node_quietly(run: Run, bundle: Path) -> None:
    """There is no traceback, and the device is freed."""
    ros = FakeRos([images(1)], {"model": str(bundle)}, end=KeyboardInterrupt)
    assert run(ros) == 0
    assert (ros.logged, ros.left) == ([], ["node", "ros"])


def test_the_parameter_file_has_the_defaults_of_the_node(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts it without the file gets the same node: here, with the bundled model."""
    text = (root / "ros2/config/translate.yaml").read_text(encoding="utf-8")
    parameters = yaml.safe_load(text)["/**"]["ros__parameters"]
    monkeypatch.chdir(tmp_path)
    asked = {}
    ros = FakeRos(parameters=parameters)
    ros.install(monkeypatch)
    node = sys.modules["rclpy.node"].Node
    declare = node.declare_parameter
    monkeypatch.setattr(
        node, "declare_parameter", lambda self, *a: asked.update([a]) or declare(self, *a)
    )
    with pytest.raises(SystemExit):
        importlib.import_module("p2p_ros2.node").main()
    assert asked == parameters
    assert ros.logged == []


def test_the_launch_file_starts_the_installed_node(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Package, executable and topics are those of the package; the parameter file is installed."""
    fakes = {
        name: MagicMock(spec=ModuleType)
        for name in (
            "ament_index_python", "ament_index_python.packages", "launch", "launch.actions",
            "launch.substitutions", "launch_ros", "launch_ros.actions",
        )
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, name, fake)
    fakes["ament_index_python.packages"].get_package_share_directory = lambda name: f"/{name}"
    fakes["launch"].LaunchDescription = list
    fakes["launch.actions"].DeclareLaunchArgument = lambda name, default_value: (
        name, default_value,
    )  # fmt: skip
    fakes["launch.substitutions"].LaunchConfiguration = lambda name: f"${name}"
    fakes["launch_ros.actions"].Node = dict
    launched = runpy.run_path(str(root / "ros2/launch/translate.launch.py"))
    *arguments, node = launched["generate_launch_description"]()
    assert dict(arguments)["parameters"] == "/p2p_ros2/config/translate.yaml"
    assert dict(node["remappings"]) == {"labels": "$labels", "photo": "$photo"}
    setup = (root / "ros2/setup.py").read_text(encoding="utf-8")
    assert re.search(rf'"{node["executable"]} = {node["package"]}\.node:main"', setup)
    assert "config/translate.yaml" in setup and "launch/translate.launch.py" in setup
