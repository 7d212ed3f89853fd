"""ROS without ROS: as much of rclpy and sensor_msgs as a node with one subscription touches."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

__all__ = ["FakeRos"]


class ParameterException(Exception):  # noqa: N818  # rclpy's names
    """A parameter that cannot be declared."""


class ExternalShutdownException(Exception):  # noqa: N818
    """ROS was shut down, for example by SIGTERM."""


class QoSProfile(SimpleNamespace):
    """Quality of service, by names."""


class Image:
    """A message as rosidl generates it: named fields alone, and data that need no check."""

    fields: ClassVar[dict[str, object]] = {
        "header": None, "height": 0, "width": 0, "encoding": "", "is_bigendian": 0, "step": 0,
        "data": array("B"),
    }  # fmt: skip

    def __init__(self, **fields: object) -> None:
        assert set(fields) <= set(self.fields), "unknown fields"
        vars(self).update(self.fields | fields)
        data = vars(self)["data"]
        assert isinstance(data, array) and data.typecode == "B", "each byte would be checked"


class FakeRos:
    """One node's world.

    Args:
        bursts: the images that come while the node is busy, time after time; a subscription keeps
            as many of each as it is deep.
        parameters: those that are set from outside.
        end: how spinning ends.

    Attributes:
        published: (topic, message), in order.
        logged: (level, line).
        log_limits_s: least distances of lines of the same kind.
        qos: quality of service by topic.
        left: what was undone at the end.
    """

    def __init__(
        self,
        bursts: Iterable[list[object]] = (),
        parameters: dict[str, object] | None = None,
        end: type[BaseException] = ExternalShutdownException,
    ) -> None:
        self.bursts, self.parameters, self.end = list(bursts), parameters or {}, end
        self.published: list[tuple[str, Any]] = []
        self.logged: list[tuple[str, str]] = []
        self.log_limits_s: list[float] = []
        self.qos: dict[str, Any] = {}
        self.left: list[str] = []
        self.callbacks: dict[str, Callable[[object], None]] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let imports of rclpy and sensor_msgs find this."""
        names = ("KEEP_LAST", "BEST_EFFORT", "VOLATILE")
        policies = SimpleNamespace(**{name: name for name in names})
        logger = SimpleNamespace(
            error=lambda line, throttle_duration_sec: (
                self.logged.append(("error", line)),
                self.log_limits_s.append(throttle_duration_sec),
            ),
            fatal=lambda line: self.logged.append(("fatal", line)),
        )
        self.logger = logger
        modules: dict[str, dict[str, object]] = {
            "rclpy": {
                "init": lambda: self.left.clear(),
                "spin": self.spin,
                "try_shutdown": lambda: self.left.append("ros"),
            },
            "rclpy.exceptions": {"ParameterException": ParameterException},
            "rclpy.executors": {"ExternalShutdownException": ExternalShutdownException},
            "rclpy.logging": {"get_logger": lambda name: logger},
            "rclpy.node": {"Node": type("Node", (Node,), {"ros": self})},
            "rclpy.qos": {
                "QoSProfile": QoSProfile, "HistoryPolicy": policies,
                "ReliabilityPolicy": policies, "DurabilityPolicy": policies,
            },
            "sensor_msgs": {},
            "sensor_msgs.msg": {"Image": Image},
        }  # fmt: skip
        for name, content in modules.items():
            module = ModuleType(name)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "p2p_ros2.node", raising=False)

    def spin(self, node: object) -> None:
        """Deliver all bursts, then end."""
        for burst in self.bursts:
            for message in burst[-self.qos["labels"].depth :]:
                self.callbacks["labels"](message)
        raise self.end


class Node:
    """The base class of nodes."""

    ros: FakeRos

    def __init__(self, name: str) -> None:
        self.name = name

    def declare_parameter(self, name: str, default: object) -> SimpleNamespace:
        value = self.ros.parameters.get(name, default)
        if type(value) is not type(default):
            raise ParameterException(f"Trying to set parameter '{name}'\nto '{value}'")
        return SimpleNamespace(value=value)

    def create_publisher(self, kind: type, topic: str, qos: object) -> SimpleNamespace:
        self.ros.qos[topic] = qos

        def publish(message: object) -> None:
            assert isinstance(message, kind)
            self.ros.published.append((topic, message))

        return SimpleNamespace(publish=publish)

    def create_subscription(
        self, kind: type, topic: str, callback: Callable[[object], None], qos: object
    ) -> None:
        self.ros.qos[topic] = qos
        self.ros.callbacks[topic] = callback

    def get_logger(self) -> SimpleNamespace:
        return self.ros.logger

    def destroy_node(self) -> None:
        self.ros.left.append("node")
