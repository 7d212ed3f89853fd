"""MCAP files: photos are added, everything else is copied, and damage is told."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("mcap", reason="needs mcap and mcap-ros2-support")
pytest.importorskip("mcap_ros2", reason="needs mcap and mcap-ros2-support")

from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from mcap_ros2.decoder import DecoderFactory
from mcap_ros2.writer import Writer as RosWriter

from p2p_ros2.bag import main
from p2p_runtime import Translator
from ros_images import compressed_of, header_of, image_of, pixels_in
from toy_runtime import label_frame

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

HEADER = """
===
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
"""
DEFINITIONS = {
    "sensor_msgs/msg/Image": "std_msgs/Header header\nuint32 height\nuint32 width\n"
    "string encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data" + HEADER,
    "sensor_msgs/msg/CompressedImage": "std_msgs/Header header\nstring format\nuint8[] data"
    + HEADER,
    "sensor_msgs/msg/CameraInfo": "std_msgs/Header header\nuint32 height\nuint32 width\n"
    "float64[9] k" + HEADER,
    "tf2_msgs/msg/TFMessage": "geometry_msgs/TransformStamped[] transforms\n===\n"
    "MSG: geometry_msgs/TransformStamped\nstd_msgs/Header header\nstring child_frame_id" + HEADER,
}
"""Definitions as ROS 2 writes them, shorter where messages are only copied."""

IMAGE, COMPRESSED, INFO, TF = DEFINITIONS
START_NS = 1_700_000_000_000_000_000
COUNT = 12


def cdr(kind: str, message: object) -> bytes:
    """Serialise a message with the encoder of mcap_ros2."""
    file = io.BytesIO()
    writer = RosWriter(file)
    writer.write_message("/x", writer.register_msgdef(kind, DEFINITIONS[kind]), message)
    writer.finish()
    file.seek(0)
    ((_, _, written),) = make_reader(file).iter_messages()
    return bytes(written.data)


def images(encoding: str = "bgr8") -> list[SimpleNamespace]:
    """Return label images with padded rows, some with odd frame_ids."""
    found = []
    for index in range(COUNT):
        frame = label_frame(index)
        pixels = frame if encoding == "bgr8" else np.full((48, 64), index, np.uint8)
        found.append(image_of(pixels, encoding, index, padding=index % 3))
        found[-1].header.frame_id = "kamera ü"[: index % 9]
    return found


class Bag:
    """A file as a robot records it: transforms, camera data, labels, and what is not ROS."""

    def __init__(
        self,
        path: Path,
        labels: list[Any],
        kind: str = IMAGE,
        compression: CompressionType = CompressionType.ZSTD,
        chunks: bool = True,
    ) -> None:
        with path.open("wb") as file:
            self.writer = Writer(file, 8000, compression, use_chunking=chunks)
            self.writer.start(profile="ros2", library="a robot")
            self.schemas = {
                name: self.writer.register_schema(name, "ros2msg", text.encode())
                for name, text in DEFINITIONS.items()
            }
            tf, info, photos = map(
                self.channel, ("/tf", "/camera/info", "/labels"), (TF, INFO, kind)
            )
            self.channel("/silent", TF)
            plain = self.writer.register_channel("/plain", "json", 0)
            self.writer.add_attachment(1, 2, "map.txt", "text/plain", b"a map")
            for index, image in enumerate(labels):
                time_ns = START_NS + index * 33_333_333
                header = header_of(index)
                transform = SimpleNamespace(header=header, child_frame_id=f"wheel {index}")
                self.add(tf, time_ns - 5, cdr(TF, SimpleNamespace(transforms=[transform] * index)))
                data = image if isinstance(image, bytes) else cdr(kind, image)
                self.add(photos, time_ns, data)
                k = [float(index)] * 9
                camera = SimpleNamespace(header=header, height=48, width=64, k=k)
                self.add(info, time_ns + 3, cdr(INFO, camera))
                self.add(plain, time_ns - 900_000_000, b'{"late": true}')
            self.writer.add_metadata("rosbag2", {"serialized_metadata": "version: 9"})
            self.writer.finish()

    def channel(self, topic: str, kind: str) -> int:
        """Register a channel."""
        metadata = {"offered_qos_profiles": f"- depth: {len(topic)}", "topic_type_hash": "RIHS01_1"}
        return self.writer.register_channel(topic, "cdr", self.schemas[kind], metadata)

    def add(self, channel: int, time_ns: int, data: bytes) -> None:
        """Write a message that was published some time before it was logged."""
        self.writer.add_message(channel, time_ns, data, time_ns - 77, sequence=time_ns % 1000)


def messages_in(path: Path, *but: str) -> list[tuple[object, ...]]:
    """Return all that is known of each message in order, without those of some topics."""
    with path.open("rb") as file:
        return [
            (channel.topic, channel.message_encoding, channel.metadata,
             schema and (schema.name, schema.encoding, schema.data),
             message.log_time, message.publish_time, message.sequence, bytes(message.data))
            for schema, channel, message in make_reader(file, validate_crcs=True).iter_messages(
                log_time_order=False
            )
            if channel.topic not in but
        ]  # fmt: skip


def others_in(path: Path) -> tuple[object, ...]:
    """Return what a file holds besides messages."""
    with path.open("rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        topics = sorted(channel.topic for channel in summary.channels.values())
        header, rest = reader.get_header(), (*reader.iter_attachments(), *reader.iter_metadata())
        return header.profile, topics, rest


def photos_in(path: Path, topic: str = "/labels/photo") -> Iterator[tuple[Any, Any]]:
    """Yield the MCAP message and the decoded ROS message of each photo."""
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, _, message, photo in reader.iter_decoded_messages([topic]):
            yield message, photo


@pytest.fixture
def translate(bundle: Path, tmp_path: Path) -> Callable[..., Result]:
    """Return a function that translates in.mcap to out.mcap."""

    def run(*words: str, topic: str = "/labels", output: str = "out.mcap") -> Result:
        files = (str(tmp_path / "in.mcap"), str(tmp_path / output))
        return CliRunner().invoke(main, [*files, "--topic", topic, "--model", str(bundle), *words])

    return run


def line_of(done: Result) -> str:
    """Return the one line of an error; what stands before it tells of the model."""
    *before, line = done.stderr.splitlines()
    assert line.startswith("error: ") and not any("rror" in other for other in before)
    return line


@pytest.mark.parametrize(
    ("compression", "chunks"),
    [
        (CompressionType.ZSTD, True),
        (CompressionType.LZ4, True),
        (CompressionType.NONE, True),
        (CompressionType.NONE, False),
    ],
)
def test_photos_are_added_and_all_else_is_copied(
    translate: Callable[..., Result],
    bundle: Path,
    tmp_path: Path,
    compression: CompressionType,
    chunks: bool,
) -> None:
    """Messages keep bytes, times, order, schemas and metadata; photos have times and headers."""
    labels = images()
    source, output = tmp_path / "in.mcap", tmp_path / "out.mcap"
    Bag(source, labels, compression=compression, chunks=chunks)
    done = translate()
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{output}: 12 images on /labels/photo\n"
    assert messages_in(output, "/labels/photo") == messages_in(source)
    profile, topics, rest = others_in(source)
    assert others_in(output) == (profile, sorted([*topics, "/labels/photo"]), rest)
    recorded = [message for message in messages_in(source) if message[0] == "/labels"]
    added = [message for message in messages_in(output) if message[0] == "/labels/photo"]
    assert [message[1:-1] for message in added] == [message[1:-1] for message in recorded]
    with Translator.load(bundle) as translator:
        for index, (_, photo) in enumerate(photos_in(output)):
            np.testing.assert_array_equal(pixels_in(photo), translator(label_frame(index)))


def test_stamps_and_frame_ids_are_those_of_the_labels(
    translate: Callable[..., Result], tmp_path: Path
) -> None:
    """Names of every length are written as ROS 2 writes them, and so are times before 1970."""
    labels = images()
    labels[3].header.stamp.sec = 2**32 - 5  # mcap_ros2 takes the seconds for unsigned
    Bag(tmp_path / "in.mcap", labels)
    assert translate().exit_code == 0
    for labelled, (message, photo) in zip(labels, photos_in(tmp_path / "out.mcap"), strict=True):
        header = photo.header
        assert header.frame_id == labelled.header.frame_id
        assert vars(labelled.header.stamp) == {
            "sec": header.stamp.sec, "nanosec": header.stamp.nanosec,
        }  # fmt: skip
        assert bytes(message.data) == cdr(IMAGE, photo)


def test_class_ids_of_carla(translate: Callable[..., Result], bundle: Path, tmp_path: Path) -> None:
    """Ids in one channel are painted by their numbering, which must be named."""
    Bag(tmp_path / "in.mcap", images("mono8"))
    assert "image 1: the frame, (48, 64) uint8, has class ids" in line_of(translate())
    assert translate("--ids", "carla", "--photo-topic", "/photo").exit_code == 0
    with Translator.load(bundle) as translator:
        for index, (_, photo) in enumerate(photos_in(tmp_path / "out.mcap", "/photo")):
            ids = np.full((48, 64), index, np.uint8)
            np.testing.assert_array_equal(pixels_in(photo), translator(ids, ids="carla"))
    assert index == COUNT - 1


def test_png_labels_become_png_photos(translate: Callable[..., Result], tmp_path: Path) -> None:
    """A CompressedImage stays one; JPEG is refused."""
    png = [compressed_of(label_frame(index)) for index in range(3)]
    Bag(tmp_path / "in.mcap", png, COMPRESSED)
    assert translate().exit_code == 0
    for message, photo in photos_in(tmp_path / "out.mcap"):
        assert photo.format == "bgr8; png compressed bgr8"
        assert photo.data.startswith(b"\x89PNG")
        assert bytes(message.data) == cdr(COMPRESSED, photo)
    Bag(tmp_path / "in.mcap", [*png, compressed_of(label_frame(0), ".jpg")], COMPRESSED)
    before = (tmp_path / "out.mcap").read_bytes()
    assert "/labels, image 4: the compressed image is no PNG" in line_of(translate())
    assert (tmp_path / "out.mcap").read_bytes() == before


def test_a_file_that_was_cut_off_is_translated_up_to_there(
    translate: Callable[..., Result], tmp_path: Path
) -> None:
    """What could be read is kept, the line says how much, and the exit code that some was lost."""
    source, output = tmp_path / "in.mcap", tmp_path / "out.mcap"
    Bag(source, images())
    whole, content = messages_in(source), source.read_bytes()
    end = content.index(b"rosbag2")  # the last record before the index
    for share in (0.5, 0.7, 0.9):
        source.write_bytes(content[: int(end * share)])
        done = translate()
        kept = messages_in(output, "/labels/photo")
        assert kept == whole[: len(kept)] and len(kept) > 3
        assert done.exit_code == 5
        assert f"is damaged behind message {len(kept)}: " in line_of(done)
        count = len(list(photos_in(output)))
        assert f"{output} has what comes before, {count} image" in line_of(done)


def test_a_broken_chunk_ends_the_copy(translate: Callable[..., Result], tmp_path: Path) -> None:
    """A checksum that is wrong is damage, however well the bytes can be read."""
    source = tmp_path / "in.mcap"
    Bag(source, images(), compression=CompressionType.NONE)
    content = bytearray(source.read_bytes())
    content[content.index(b"wheel 9")] ^= 1
    source.write_bytes(content)
    done = translate()
    assert done.exit_code == 5 and "crc validation failed" in line_of(done)
    assert 0 < len(messages_in(tmp_path / "out.mcap")) < 5 * COUNT


def test_damage_behind_the_data_costs_nothing(
    translate: Callable[..., Result], tmp_path: Path
) -> None:
    """The index at the end only repeats what was read."""
    source = tmp_path / "in.mcap"
    Bag(source, images())
    whole = messages_in(source)
    source.write_bytes(source.read_bytes()[:-40])
    assert translate().exit_code == 0
    assert messages_in(tmp_path / "out.mcap", "/labels/photo") == whole


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" * 9, b"\x89MCAP0\r\n", None])
def test_what_is_no_bag_is_refused(
    translate: Callable[..., Result], tmp_path: Path, content: bytes | None
) -> None:
    """An empty file, another format, nothing but a beginning, and no file at all."""
    if content is not None:
        (tmp_path / "in.mcap").write_bytes(content)
    done = translate()
    assert done.exit_code == 2
    says = "cannot read" if content is None else "is no MCAP file, or damaged"
    assert says in line_of(done)
    assert [path.name for path in tmp_path.glob("*.mcap")] == ["in.mcap"] * (content is not None)


@pytest.mark.parametrize(
    ("words", "topic", "line"),
    [
        ((), "/label", "has no topic /label; those with images: /labels"),
        ((), "/tf", "topic /tf has tf2_msgs/msg/TFMessage (cdr, ros2msg); labels are sensor_msgs"),
        ((), "/plain", "topic /plain has no schema (json, )"),
        (("--photo-topic", "/tf"), "/labels", "there is a topic /tf already"),
        (("--ids", "carlo"), "/labels", "'carlo' is unknown"),
    ],
)
def test_a_wrong_topic_is_one_clear_line(
    translate: Callable[..., Result], tmp_path: Path, words: tuple[str, ...], topic: str, line: str
) -> None:
    """Nothing is written then."""
    Bag(tmp_path / "in.mcap", images())
    done = translate(*words, topic=topic)
    assert done.exit_code == 2 and line in line_of(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mcap", "model-fp32.onnx"]


def test_a_topic_that_is_absent_is_told_with_and_without_an_index(
    translate: Callable[..., Result], tmp_path: Path
) -> None:
    """With one, at once: even where the first record is broken."""
    source = tmp_path / "in.mcap"
    Bag(source, images())
    content = source.read_bytes()
    for broken in (content[:9] + b"\xff" * 90 + content[99:], content[:-40]):
        source.write_bytes(broken)
        done = translate(topic="/label")
        assert done.exit_code == 2
        assert "has no topic /label; those with images: /labels" in line_of(done)


def test_an_image_that_is_refused_names_its_number(
    translate: Callable[..., Result], tmp_path: Path
) -> None:
    """The whole copy fails: a bag with some of the photos would look complete."""
    labels = images()
    labels[7].encoding = "yuv422"
    Bag(tmp_path / "in.mcap", labels)
    done = translate()
    assert done.exit_code == 2
    assert "/labels, image 8: the encoding is 'yuv422'" in line_of(done)
    assert not (tmp_path / "out.mcap").exists()


def test_the_input_is_never_overwritten(translate: Callable[..., Result], tmp_path: Path) -> None:
    """Neither by its own name nor by a link."""
    source = tmp_path / "in.mcap"
    Bag(source, images())
    before = hashlib.sha256(source.read_bytes()).digest()
    (tmp_path / "link.mcap").hardlink_to(source)
    for output in ("in.mcap", "link.mcap"):
        done = translate(output=output)
        assert done.exit_code == 3 and "is the input; name another output" in line_of(done)
    assert hashlib.sha256(source.read_bytes()).digest() == before


def test_an_image_that_cannot_be_decoded_is_damage(
    translate: Callable[..., Result], tmp_path: Path
) -> None:
    """A recorder that writes no checksums leaves it to the message to be sensible."""
    labels: list[Any] = images()
    labels[5] = cdr(IMAGE, labels[5])[:14]
    Bag(tmp_path / "in.mcap", labels)
    done = translate()
    assert done.exit_code == 5
    assert "message 21: an image cannot be decoded, " in line_of(done)
    assert len(list(photos_in(tmp_path / "out.mcap"))) == 5


def test_missing_packages_are_named(
    translate: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line has the pip command."""
    monkeypatch.delitem(sys.modules, "p2p_ros2.mcap_file", raising=False)
    monkeypatch.setitem(sys.modules, "mcap.exceptions", None)
    done = translate()
    assert done.exit_code == 2
    assert "type: pip install mcap mcap-ros2-support" in line_of(done)
