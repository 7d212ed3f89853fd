"""Starts the node: ``ros2 launch p2p_ros2 translate.launch.py labels:=/camera/labels``."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Return the node, with its parameters and topics as arguments."""
    parameters = Path(get_package_share_directory("p2p_ros2")) / "config" / "translate.yaml"
    defaults = {"parameters": str(parameters), "labels": "labels", "photo": "photo"}
    node = Node(
        package="p2p_ros2",
        executable="translate",
        parameters=[LaunchConfiguration("parameters")],
        remappings=[(topic, LaunchConfiguration(topic)) for topic in ("labels", "photo")],
        output="screen",
    )
    arguments = [
        DeclareLaunchArgument(name, default_value=value) for name, value in defaults.items()
    ]
    return LaunchDescription([*arguments, node])
