"""CARLA as a source, in synchronous mode: the frame that is ticked is the frame that is translated.

Images carry the number of their frame, and arrive in threads of CARLA's. Those of another frame
than the awaited one are dropped and counted. Not tested against a running simulator.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl

import numpy as np

from p2p_runtime.console import require_extra
from p2p_runtime.errors import ConfigError, OutputError, SourceError, SourceLostError
from p2p_runtime.files import check_writable_folder, reason, write_picture
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.prefetch import POLL_S, FrameQueue
from p2p_runtime.redaction import split_url
from p2p_runtime.video.frames import FrameTask, VideoInfo
from p2p_runtime.video.live import LivePolicy

__all__ = ["CarlaSource"]

_FORM = "carla://HOST:2000?camera=hero&size=640x360&fov=90&fps=20&save=FOLDER"
_VALUES = {
    "camera": ".+", "size": r"[1-9]\d{1,3}x[1-9]\d{1,3}", "fov": r"[1-9]\d?|1[0-7]\d",
    "fps": r"[1-9]\d|1\d\d|2[0-3]\d|240", "save": ".+",  # below ten, physics suffers
}  # fmt: skip

_CAMERAS = {"label": "sensor.camera.semantic_segmentation", "rgb": "sensor.camera.rgb"}
_LENS = ("image_size_x", "image_size_y", "fov")
_PORT, _STEP_S, _HOOD_M = 2000, 0.05, (1.5, 0.0, 2.4)  # those of CARLA's own examples

_log = logging.getLogger(__name__)


class CarlaSource:
    """Ticks a world and yields its frames; see :class:`p2p_runtime.video.frames.FrameSource`.

    The picture is the semantic camera's, painted; for a model without a palette, the RGB camera's.
    With ``save``, a folder gets each translated frame under its number: ``label/`` (class ids),
    ``rgb/``, ``photo/`` (the output), and a line of JSON in ``poses.jsonl``.

    Attributes:
        info: size and rate; its facts count the frames that came too late after all, or twice.
        frames_lost: number of ticks whose images did not all come within the stall time-out.
    """

    def __init__(
        self, url: str, *, labels: LabelReader | None, policy: LivePolicy,
        stopping: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        """Connect, and look for what is needed; nothing in the simulator is changed yet.

        Args:
            url: ``camera`` is the role name or id of a vehicle, or of a camera, which ours copies.
            labels: paints class ids; None for a model without a palette.
            policy, stopping: how long images and frames are waited for; what is asked meanwhile.

        Raises:
            ConfigError: the URL has other options, or ``labels`` are colours.
            MissingExtraError: CARLA's Python package is not installed.
            SourceError: the simulator does not answer, has another version, or no such camera.
            OutputError: the folder to save in is not empty, or cannot be written.
        """
        parts, query = _parse(url)
        self._name = f"carla://{parts.hostname}:{parts.port or _PORT}"
        if labels is not None and not labels.wants_ids:
            raise ConfigError(f"{self._name} gives class ids; leave --labels colour out")
        require_extra("carla", "carla")
        self._labels, self._policy, self._stopping = labels, policy, stopping or (lambda: False)
        self._save = Path(query["save"]) if "save" in query else None
        if self._save is not None:
            check_writable_folder(self._save)
            if any(self._save.iterdir()):
                raise OutputError(f"{self._save} is not empty; a data set has its own folder")
        self._marks: dict[int, set[str]] = {}  # which images of a frame came, and its faults
        self._arrivals: FrameQueue[tuple[str, Any]] = FrameQueue()
        self._undo, self._gone, self.frames_lost = contextlib.ExitStack(), False, 0
        import carla

        with self._answering():
            self._client = carla.Client(parts.hostname, parts.port or _PORT)
            self.info = self._look_up(carla, query)

    def __iter__(self) -> Iterator[FrameTask]:
        """Add the cameras, switch to synchronous mode, and yield frames for as long as wanted."""
        with self._answering():
            sensors = {}
            for kind, blueprint in self._blueprints.items():
                sensors[kind] = self._world.spawn_actor(blueprint, self._place, self._anchor)
                self._undo.callback(sensors[kind].destroy)
            before, settings = self._world.get_settings(), self._world.get_settings()
            settings.synchronous_mode, settings.fixed_delta_seconds = True, 1 / self.info.fps
            self._undo.callback(self._world.apply_settings, before)
            self._world.apply_settings(settings)
            for kind, sensor in sensors.items():
                sensor.listen(lambda image, kind=kind: self._arrivals.put((kind, image)))
                self._undo.callback(sensor.stop)
            self._undo.callback(lambda: self._gone and self._client.set_timeout(1.0))
        return self._frames()

    def close(self) -> None:
        """Put the settings back and remove the cameras; what does not succeed is told."""
        try:
            self._undo.close()  # all of it, whatever fails
        except RuntimeError as error:
            _log.warning("%s may be left synchronous, or with our cameras: %s", self._name, error)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # the only kind that CARLA has
            self._gone = True
            raise SourceLostError(f"{self._name}: {error}") from error

    def _look_up(self, carla: Any, query: dict[str, str]) -> VideoInfo:
        self._client.set_timeout(self._policy.stall_timeout_s)
        server, ours = self._client.get_server_version(), self._client.get_client_version()
        if server.partition("-")[0] != ours.partition("-")[0]:
            raise SourceError(f"{self._name}: CARLA {server} needs its package carla, not {ours}")
        self._world = self._client.get_world()
        settings = self._world.get_settings()
        self._anchor = self._find(query.get("camera", "hero"))
        is_camera = self._anchor.type_id.startswith("sensor.")
        self._place = carla.Transform(carla.Location(*(() if is_camera else _HOOD_M)))
        lens = {key: self._anchor.attributes[key] for key in _LENS if is_camera}
        asked = (*query.get("size", "x").split("x"), query.get("fov"))
        lens |= {key: value for key, value in zip(_LENS, asked, strict=True) if value}
        kinds = _CAMERAS if self._save else ("rgb" if self._labels is None else "label",)
        library = self._world.get_blueprint_library()
        self._blueprints = {kind: library.find(_CAMERAS[kind]) for kind in kinds}
        for blueprint in self._blueprints.values():
            for key, value in lens.items():
                blueprint.set_attribute(key, value)
        width, height = (blueprint.get_attribute(key).as_int() for key in _LENS[:2])
        return VideoInfo(
            width=width, height=height, on_demand=True,
            fps=float(query.get("fps") or 1 / (settings.fixed_delta_seconds or _STEP_S)),
            facts={"simulator": f"CARLA {server}", "frames_late": 0, "frames_doubled": 0},
        )  # fmt: skip

    def _find(self, wanted: str) -> Any:
        """Return the camera or vehicle of a role name or an id."""
        actors = self._world.get_actors()
        able = [*actors.filter("vehicle.*"), *actors.filter("sensor.camera.*")]
        named = [(one, str(one.id), one.attributes.get("role_name", "")) for one in able]
        found = [one for one, *names in named if wanted in names]
        if len(found) == 1:
            return found[0]
        there = ", ".join(f"id {i} ({one.type_id} {role})" for one, i, role in named) or "none"
        raise SourceError(f"{self._name}: {len(found)} are called {wanted}; there are {there}")

    def _frames(self) -> Iterator[FrameTask]:
        index, first_s, last_s = 0, 0.0, time.monotonic()
        while not self._stopping():
            with self._answering():
                frame = self._world.tick(self._policy.stall_timeout_s)
            images = self._gather(frame)
            if len(images) == len(self._blueprints):
                task = self._task(frame, images)
                first_s = first_s if index else task.timestamp_s
                task.index, task.timestamp_s = index, task.timestamp_s - first_s
                yield task
                index, last_s = index + 1, time.monotonic()
            elif not self._stopping():
                self.frames_lost += 1
                _log.warning("%s: the images of frame %d did not all come", self._name, frame)
                if time.monotonic() - last_s > self._policy.reconnect_for_s:
                    raise SourceLostError(f"{self._name} ticks, but its cameras give no frame")

    def _gather(self, frame: int) -> dict[str, Any]:
        """Return the image of each camera of a frame; too few after the stall time-out."""
        self._marks[frame] = set()
        self._marks.pop(frame - 256, None)  # nothing comes as late as that
        images: dict[str, Any] = {}
        until_s = time.monotonic() + self._policy.stall_timeout_s
        while len(images) < len(self._blueprints) and not self._stopping():
            if (left_s := until_s - time.monotonic()) <= 0:
                break
            new = self._arrivals.get(min(left_s, POLL_S))
            if new is not None and self._is_due(*new, frame):
                images[new[0]] = new[1]
        return images

    def _is_due(self, kind: str, image: Any, frame: int) -> bool:
        """Tell whether an image is awaited, and count the frame of one that is not, once."""
        marks = self._marks.get(image.frame)
        if marks is None:  # this run did not tick it
            return False
        fault = "doubled" if kind in marks else "late" if image.frame != frame else ""
        if fault:
            self.info.facts[f"frames_{fault}"] += fault not in marks
        marks |= {kind, fault}
        return not fault

    def _task(self, frame: int, images: dict[str, Any]) -> FrameTask:
        start_s, pixels = time.perf_counter(), {}
        for kind, image in images.items():  # (H, W, 4) BGRA, with the class id in red
            bgra = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)
            pixels[kind] = (bgra[..., 2] if kind == "label" else bgra[..., :3]).copy()
        labels, name = self._labels, f"{frame:08d}"
        picture = pixels["rgb"] if labels is None else labels(pixels["label"], self._name)
        assert picture is not None, "ids are always painted"
        task = FrameTask(picture=picture, timestamp_s=image.timestamp, name=name)
        task.times_ms["decode"] = (task.decoded_s - start_s) * 1e3
        if (folder := self._save) is not None:
            place, angles = image.transform.location, image.transform.rotation
            pose = {"frame": frame, "time_s": image.timestamp, "fov_deg": image.fov}
            pose |= {f"{axis}_m": getattr(place, axis) for axis in ("x", "y", "z")}
            pose |= {f"{axis}_deg": getattr(angles, axis) for axis in ("pitch", "yaw", "roll")}
            task.keep = lambda done: self._keep(done, folder, pixels, json.dumps(pose))
        return task

    def _keep(self, task: FrameTask, folder: Path, pixels: dict[str, Any], pose: str) -> None:
        """Save a frame, without an input left of its output; its pose comes last."""
        for kind, picture in (pixels | {"photo": task.image[:, -self.info.width :]}).items():
            write_picture(folder / kind / f"{task.name}.png", picture)
        try:
            with (folder / "poses.jsonl").open("a", encoding="utf-8") as file:
                file.write(f"{pose}\n")
        except OSError as error:
            raise OutputError(f"cannot write {folder}/poses.jsonl: {reason(error)}") from error


def _parse(url: str) -> tuple[SplitResult, dict[str, str]]:
    parts = split_url(url, ConfigError)
    pairs = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
    odd = [f"{k}={v}" for k, v in pairs if not re.fullmatch(_VALUES.get(k, "(?!)"), v)]
    other = "@" in parts.netloc or parts.path.strip("/") or parts.fragment
    if odd or other or not parts.hostname or len(dict(pairs)) < len(pairs):
        raise ConfigError(f"{odd[0] if odd else url} is not understood; write {_FORM}")
    return parts, dict(pairs)
