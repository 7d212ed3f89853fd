"""Image messages over DDS, as ROS 2 sends them, and a process that translates them.

``python dds_images.py MODEL DOMAIN PREFIX COUNT`` translates so many images and ends.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import int32, sequence, uint8, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

__all__ = ["Header", "Image", "Link", "Time"]

LOOPBACK = """
<CycloneDDS><Domain id="any">
  <General>
    <Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>
    <AllowMulticast>false</AllowMulticast>
  </General>
  <Discovery>
    <ParticipantIndex>auto</ParticipantIndex>
    <Peers><Peer address="127.0.0.1"/></Peers>
  </Discovery>
</Domain></CycloneDDS>
"""

DEADLINE_S = 120.0


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    """A moment."""

    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    """When, and in which frame."""

    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    """An image; ``data`` is written as an array of bytes and read as a list."""

    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


class Link:
    """What publishes images on one topic, and subscribes to another, on the loopback alone."""

    def __init__(self, domain: int, published: str, subscribed: str) -> None:
        qos = Qos(Policy.Reliability.Reliable(duration(seconds=10)), Policy.History.KeepAll)
        self._domain = Domain(domain, LOOPBACK)
        participant = DomainParticipant(domain)
        self._writer = DataWriter(participant, Topic(participant, published, Image), qos)
        self._reader = DataReader(participant, Topic(participant, subscribed, Image), qos)
        self._end_s = time.monotonic() + DEADLINE_S

    def wait(self) -> None:
        """Wait for the other side."""
        while not (
            self._writer.get_matched_subscriptions() and self._reader.get_matched_publications()
        ):
            self._rest("nobody answers")

    def send(self, image: Image) -> None:
        """Publish an image."""
        self._writer.write(image)

    def received(self, count: int) -> Iterator[Image]:
        """Yield so many images as they come."""
        while count:
            for image in self._reader.take(count):
                image.data = bytes(image.data)
                yield image
                count -= 1
            self._rest(f"{count} images are missing")

    def _rest(self, missing: str) -> None:
        if time.monotonic() > self._end_s:
            raise TimeoutError(missing)
        time.sleep(0.002)


def main(model: str, domain: str, prefix: str, count: str) -> None:
    """Translate images of the topic ``PREFIX/labels`` onto ``PREFIX/photo``."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "ros2"))
    from p2p_ros2.translation import Translation
    from p2p_runtime import Translator

    link = Link(int(domain), f"{prefix}/photo", f"{prefix}/labels")
    with Translator.load(model, threads=1) as translator:
        translation = Translation(translator)
        link.wait()
        for labels in link.received(int(count)):
            link.send(Image(**translation.image(labels)))
        for _ in link.received(1):  # the other side has all of them
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
