"""The part of CARLA's Python package that the bridge uses, with a simulator in this process.

Each image shows the number of its frame, and a frame's images may come late, twice or never. A test
compares these names with those of the real package.
"""

from __future__ import annotations

import fnmatch
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

__all__ = [
    "Actor", "ActorAttribute", "ActorBlueprint", "ActorList", "BlueprintLibrary", "Client",
    "Image", "Location", "Rotation", "Sensor", "Transform", "Vehicle", "World", "WorldSettings",
]  # fmt: skip

BITS = 16
"""Number of bits of a frame's number that an image shows."""

ROAD, SKY = 1, 11
"""What 0 and 1 are painted as: ids of CARLA 0.9.14 and later."""


def ids_of_frame(frame: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return class ids (H, W) that show the number of a frame in 4 x 4 fields."""
    bits = np.array([frame >> place & 1 for place in range(BITS)], np.uint8).reshape(4, 4)
    fields = bits.repeat(-(-height // 4), axis=0).repeat(-(-width // 4), axis=1)
    return np.where(fields, SKY, ROAD).astype(np.uint8)[:height, :width]


def frame_of_bits(sky: NDArray[np.bool_]) -> int:
    """Return the number of the frame of which (H, W) shows the bits."""
    height, width = sky.shape
    bits = sky[height // 8 :: height // 4, width // 8 :: width // 4].ravel()
    return int(sum(int(bit) << place for place, bit in enumerate(bits[:BITS])))


@dataclass
class Location:
    """A place in metres."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@dataclass
class Rotation:
    """Angles in degrees."""

    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0


@dataclass
class Transform:
    """A place and a direction."""

    location: Location = field(default_factory=Location)
    rotation: Rotation = field(default_factory=Rotation)


@dataclass
class WorldSettings:
    """How a world runs."""

    synchronous_mode: bool = False
    fixed_delta_seconds: float | None = None


@dataclass
class Image:
    """What a camera sends: BGRA."""

    frame: int
    timestamp: float
    transform: Transform
    width: int
    height: int
    fov: float
    raw_data: bytes


@dataclass
class ActorAttribute:
    """A value of a blueprint."""

    value: str

    def as_int(self) -> int:
        return int(self.value)


class ActorBlueprint:
    """A camera before it is there; others than cameras are not needed."""

    def __init__(self, name: str) -> None:
        self.id = name
        self._values = {"image_size_x": "800", "image_size_y": "600", "fov": "90.0"}

    def set_attribute(self, key: str, value: str) -> None:
        if key not in self._values:
            raise IndexError(f"attribute '{key}' not found")
        self._values[key] = value

    def get_attribute(self, key: str) -> ActorAttribute:
        return ActorAttribute(self._values[key])


class BlueprintLibrary:
    """All blueprints."""

    def find(self, name: str) -> ActorBlueprint:
        return ActorBlueprint(name)


@dataclass(eq=False)
class Actor:
    """A thing in the world."""

    id: int
    type_id: str
    attributes: dict[str, str]

    def destroy(self) -> bool:
        server.answer("destroy")
        server.actors.remove(self)
        return True


class Vehicle(Actor):
    """A car."""


class Sensor(Actor):
    """A camera."""

    _callback: Callable[[Image], object] | None = None

    def listen(self, callback: Callable[[Image], object]) -> None:
        server.answer("listen")
        self._callback = callback

    def stop(self) -> None:
        server.answer("stop")
        self._callback = None


class ActorList(list[Actor]):
    """Some actors."""

    def filter(self, pattern: str) -> ActorList:
        return ActorList(one for one in self if fnmatch.fnmatch(one.type_id, pattern))


class World:
    """What a client sees of the simulator."""

    def get_settings(self) -> WorldSettings:
        return replace(server.settings)

    def apply_settings(self, settings: WorldSettings) -> int:
        server.answer("apply_settings")
        server.settings = replace(settings)
        return server.frame

    def get_actors(self) -> ActorList:
        return ActorList(server.actors)

    def get_blueprint_library(self) -> BlueprintLibrary:
        return BlueprintLibrary()

    def spawn_actor(
        self, blueprint: ActorBlueprint, transform: Transform, attach_to: Actor | None = None
    ) -> Actor:
        server.answer("spawn_actor")
        return server.add(Sensor, blueprint.id, {**blueprint._values}, transform, attach_to)

    def tick(self, seconds: float = 0.0) -> int:
        server.answer("tick")
        return server.tick()


class Client:
    """A connection."""

    def __init__(self, host: str, port: int) -> None:
        server.answer("Client")  # the real one looks the name of the host up
        server.address = (host, port)

    def set_timeout(self, seconds: float) -> None:
        server.timeout_s = seconds

    def get_server_version(self) -> str:
        server.answer("get_server_version")
        return server.version

    def get_client_version(self) -> str:
        return "0.9.16"

    def get_world(self) -> World:
        server.answer("get_world")
        return World()


class Server:
    """The simulator, with a vehicle called hero.

    Attributes:
        faults: what becomes of the images of a kind of camera: by (frame, "label" or "rgb"), one
            of late (comes with the next frame's), lost, doubled and slow (comes soon, in time).
        fails: names of calls that are not answered, with the frame from which on.
        where: (transform, parent) of each actor that was added.
        calls: names of all calls.
    """

    def __init__(self) -> None:
        self.settings, self.version, self.frame = WorldSettings(), "0.9.16", 1000
        self.timeout_s, self.address = 0.0, ("", 0)
        self.actors: list[Actor] = []
        self.where: dict[int, tuple[Transform, Actor | None]] = {}
        self.faults: dict[tuple[int, str], str] = {}
        self.fails: dict[str, int] = {}
        self.calls: list[str] = []
        self._late: list[tuple[Sensor, Image]] = []
        self.add(Vehicle, "vehicle.audi.a2", {"role_name": "hero"})

    def add(self, kind: type[Actor], name: str, attributes: dict[str, str], *where: Any) -> Actor:
        """Add an actor; return it."""
        actor = kind(100 + len(self.where), name, attributes)
        self.actors.append(actor)
        self.where[actor.id] = where or (Transform(), None)
        return actor

    def answer(self, call: str) -> None:
        """Note a call, and fail if it is one of those that fail."""
        self.calls.append(call)
        if self.frame >= self.fails.get(call, sys.maxsize):
            raise RuntimeError(f"time-out of {self.timeout_s * 1e3:.0f}ms while waiting for {call}")

    def state(self) -> tuple[WorldSettings, list[str]]:
        """Return what a run must leave as it was."""
        return replace(self.settings), [actor.type_id for actor in self.actors]

    def tick(self) -> int:
        """Make the next frame."""
        if not self.settings.synchronous_mode:
            raise AssertionError("a world is ticked in synchronous mode only")
        self.frame += 1
        late, self._late = self._late, []
        for sensor, image in late:
            self._send(sensor, image)
        for actor in self.actors:
            if isinstance(actor, Sensor) and actor._callback is not None:
                self._deliver(actor)
        return self.frame

    def _deliver(self, sensor: Sensor) -> None:
        kind = "label" if "semantic" in sensor.type_id else "rgb"
        image = self._image(sensor, kind)
        fault = self.faults.get((self.frame, kind), "")
        if fault == "late":
            self._late.append((sensor, image))
        elif fault == "slow":
            threading.Timer(0.05, self._send, (sensor, image)).start()
        elif fault != "lost":
            for _ in range(1 + (fault == "doubled")):
                self._send(sensor, image)

    def _send(self, sensor: Sensor, image: Image) -> None:
        if sensor._callback is not None:
            sensor._callback(image)

    def _image(self, sensor: Sensor, kind: str) -> Image:
        width, height = (int(sensor.attributes[f"image_size_{axis}"]) for axis in "xy")
        bgra = np.zeros((height, width, 4), np.uint8)
        bgra[..., 3] = 255
        if kind == "label":
            bgra[..., 2] = ids_of_frame(self.frame, height, width)
        else:
            bgra[..., 0], bgra[..., 1], bgra[..., 2] = self.frame & 255, self.frame >> 8, 7
        return Image(
            frame=self.frame, timestamp=self.frame * (self.settings.fixed_delta_seconds or 0.0),
            transform=Transform(Location(float(self.frame), 2.0, 3.0), Rotation(4.0, 5.0, 6.0)),
            width=width, height=height, fov=float(sensor.attributes["fov"]),
            raw_data=bgra.tobytes(),
        )  # fmt: skip


server = Server()


def started(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return a new simulator, and put this package in place of CARLA's."""
    monkeypatch.setitem(globals(), "server", Server())
    monkeypatch.setitem(sys.modules, "carla", sys.modules[__name__])
    return server
