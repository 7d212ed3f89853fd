"""How colcon installs the package; pip does, too, for bags where there is no ROS."""

from setuptools import find_packages, setup

package_name = "p2p_ros2"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
        ("share/" + package_name + "/launch", ["launch/translate.launch.py"]),
        ("share/" + package_name + "/config", ["config/translate.yaml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"bag": ["mcap>=1.6", "mcap-ros2-support>=0.6"]},
    zip_safe=True,
    maintainer="pix2pix-edge contributors",
    maintainer_email="contributors@pix2pix-edge.invalid",
    description="Translates label images of a topic, or of a MCAP file, into photos.",
    license="MIT",
    entry_points={"console_scripts": ["translate = p2p_ros2.node:main"]},
)
