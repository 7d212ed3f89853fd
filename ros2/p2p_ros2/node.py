"""The node: label images on ``labels`` become photos on ``photo``. Not tested under ROS."""

from __future__ import annotations

import sys

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from p2p_runtime import Translator
from p2p_runtime.console import setup_logging
from p2p_runtime.errors import ContractError, P2PError, count_of

from .translation import Translation

__all__ = ["TranslationNode", "main"]

NAME = "p2p_translation"

NEWEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""That of sensor data, but one image deep: while one is translated, only the newest is kept."""


class TranslationNode(Node):  # type: ignore[misc]  # rclpy is not there where types are checked
    """Translates each image as it comes; its parameters are those of ``config/translate.yaml``.

    Raises:
        P2PError: the model, the device or the numbering of ids is not there.
        ParameterException: a parameter has another type.
    """

    def __init__(self) -> None:
        super().__init__(NAME)
        model, device, ids, repair_labels = (
            self.declare_parameter(name, default).value
            for name, default in {
                "model": "", "device": "auto", "ids": "", "repair_labels": True,
            }.items()
        )  # fmt: skip
        translator = Translator.load(
            model or None, device=device, repair_labels=repair_labels, allow_spinning=False
        )
        self._refused = 0
        try:
            self._translation = Translation(translator, ids or None)
        except P2PError:
            translator.close()
            raise
        self._photos = self.create_publisher(Image, "photo", 1)  # reliable, for any subscriber
        self.create_subscription(Image, "labels", self._translate, NEWEST)

    def _translate(self, labels: Image) -> None:
        try:
            photo = self._translation.image(labels)
        except ContractError as error:  # the next image may be a better one
            self._refused += 1
            line = f"{count_of(self._refused, 'image')} refused; the last one: {error}"
            self.get_logger().error(line, throttle_duration_sec=5.0)
            return
        self._photos.publish(Image(**photo))

    def destroy_node(self) -> None:
        """Free the device, too."""
        self._translation.translator.close()
        super().destroy_node()


def main() -> None:
    """Run the node until ROS shuts down; an error is one line, and the exit code of `p2p-run`."""
    setup_logging()
    rclpy.init()
    exit_code = 0
    try:
        node = TranslationNode()
        try:
            rclpy.spin(node)
        finally:
            node.destroy_node()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (P2PError, ParameterException) as error:
        get_logger(NAME).fatal(" ".join(str(error).split()))
        exit_code = getattr(error, "exit_code", 2)
    finally:
        rclpy.try_shutdown()
    sys.exit(exit_code)
