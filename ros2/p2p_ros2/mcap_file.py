"""A MCAP file is copied record by record; behind each label image comes its photo."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import (
    Attachment,
    Channel,
    DataEnd,
    Header,
    McapRecord,
    Message,
    Metadata,
    Schema,
)
from mcap.stream_reader import StreamReader
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory
from zstandard import ZstdError

from p2p_runtime.console import StatusLine
from p2p_runtime.errors import ConfigError, ContractError, LossesError, SourceError, count_of
from p2p_runtime.files import atomic_file, protected, reason

from .translation import Translation

__all__ = ["translate_file"]

_DAMAGE = (McapError, OSError, RuntimeError, ValueError, ZstdError, struct.error)
"""What mcap, its two decompressors and mcap_ros2 raise at damaged bytes."""

KINDS = IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

Decode = Callable[[bytes], Any]


class _DamagedError(Exception):
    """Raised where a file cannot be read any further."""


def translate_file(
    source: Path, output: Path, translation: Translation, topic: str, photo_topic: str
) -> str:
    """Copy a MCAP file, and add the photos of one topic; return how many images there were.

    Schemas, channels, messages, attachments and metadata keep their contents, times and order;
    channels and schemas are numbered anew, and chunks are compressed with zstd.

    Raises:
        SourceError: ``source`` cannot be read, is no MCAP file, or damaged before its first image.
        ConfigError: there is no such topic, or it holds something else, or that of the photos is
            already there.
        ContractError: an image is not what the model takes.
        LossesError: the file is damaged; ``output`` has what comes before the damage.
        OutputError: ``output`` cannot be written; a file of that name is unchanged.
    """
    try:
        recorded = source.open("rb")
        size = source.stat().st_size
    except OSError as error:
        raise SourceError(f"cannot read {source}: {reason(error)}") from error
    damage, shown = "", 0
    with (
        recorded, protected([source], "the input"), atomic_file(output) as written,
        StatusLine() as status,
    ):  # fmt: skip
        copy = _Copy(Writer(written), translation, topic, photo_topic)
        _check_index(recorded, source, topic)
        try:
            for record in _records(recorded):
                copy.add(record)
                if copy.images > shown:
                    shown = copy.images
                    status.show(copy.count, share=recorded.tell() / size)
        except _DamagedError as error:
            if not copy.images:
                raise SourceError(
                    f"{source} is no MCAP file, or damaged before its first image: {error}"
                ) from error
            damage = f"{source} is damaged behind message {copy.messages}: {error}"
        copy.finish(source)
    if damage:
        raise LossesError(f"{damage}; {output} has what comes before, {copy.count}")
    return copy.count


def _check_index(file: IO[bytes], source: Path, topic: str) -> None:
    """Raise the ConfigError of a topic at once where a file has an index; it may be a large one."""
    with contextlib.suppress(*_DAMAGE):
        summary = make_reader(file).get_summary()
        if summary is not None and summary.channels:
            kinds = {number: schema.name for number, schema in summary.schemas.items()}
            found = [(one.topic, kinds.get(one.schema_id, "")) for one in summary.channels.values()]
            if topic not in dict(found):
                raise _absent(source, topic, (name for name, kind in found if kind in KINDS))
    file.seek(0)


def _absent(source: Path, topic: str, others: Iterable[str]) -> ConfigError:
    listed = ", ".join(sorted({*others})) or "none"
    return ConfigError(f"{source} has no topic {topic}; those with images: {listed}")


def _records(file: IO[bytes]) -> Iterator[McapRecord]:
    """Yield what a file holds; what follows the data only repeats it and may be damaged."""
    headed, ended = False, False
    try:
        for record in StreamReader(file, validate_crcs=True).records:
            if not (headed or isinstance(record, Header)):
                raise McapError("it has no header")
            headed, ended = True, ended or isinstance(record, DataEnd)
            yield record
    except _DAMAGE as error:
        if not ended:
            raise _DamagedError(str(error) or "it ends too soon") from error


class _Copy:
    """Writes the records of one file to another.

    Attributes:
        images, messages: how many were copied; images are messages, too.
    """

    def __init__(
        self, writer: Writer, translation: Translation, topic: str, photo_topic: str
    ) -> None:
        self._writer, self._translation = writer, translation
        self._topic, self._photo_topic = topic, photo_topic
        self._schemas: dict[int, Schema] = {}
        # The numbers that the writer gave to schemas and channels, and to the photos of a channel.
        self._schema_ids, self._channel_ids = {0: 0}, dict[int, int]()
        self._photos: dict[int, tuple[int, Decode, Callable[[Any], bytes]]] = {}
        self._decoders = DecoderFactory()
        self._image_topics: set[str] = set()
        self.images = self.messages = 0

    @property
    def count(self) -> str:
        """How many images were translated, in words."""
        return count_of(self.images, "image")

    def add(self, record: McapRecord) -> None:
        """Write a record, and the photo of an image."""
        match record:
            case Header():
                self._writer.start(profile=record.profile)
            case Schema() if record.id not in self._schemas:
                self._schemas[record.id] = record
                self._schema_ids[record.id] = self._writer.register_schema(
                    record.name, record.encoding, record.data
                )
            case Channel() if record.id not in self._channel_ids:
                self._channel_ids[record.id] = self._register(record, record.topic)
                self._look_for_images(record)
            case Message():
                self._add_message(record)
            case Attachment():
                self._writer.add_attachment(
                    record.create_time, record.log_time, record.name, record.media_type, record.data
                )
            case Metadata():
                self._writer.add_metadata(record.name, record.metadata)

    def finish(self, source: Path) -> None:
        """Write the summary; a ConfigError if there was no such topic."""
        if not self._photos:
            raise _absent(source, self._topic, self._image_topics)
        self._writer.finish()

    def _register(self, channel: Channel, topic: str) -> int:
        if channel.schema_id not in self._schema_ids:
            raise _DamagedError(f"topic {channel.topic} has no schema")
        channel_id: int = self._writer.register_channel(
            topic, channel.message_encoding, self._schema_ids[channel.schema_id], channel.metadata
        )
        return channel_id

    def _look_for_images(self, channel: Channel) -> None:
        """Register the photos of a channel if it is that of the labels."""
        schema = self._schemas.get(channel.schema_id)
        kind = schema.name if schema else "no schema"
        if channel.topic == self._photo_topic:
            raise ConfigError(f"there is a topic {channel.topic} already; name another one")
        if kind in KINDS:
            self._image_topics.add(channel.topic)
        if channel.topic != self._topic:
            return
        decode = self._decoders.decoder_for(channel.message_encoding, schema)
        if kind not in KINDS or decode is None:
            encoding = f"{channel.message_encoding}, {schema.encoding if schema else ''}"
            raise ConfigError(
                f"topic {channel.topic} has {kind} ({encoding}); labels are {IMAGE} or "
                f"{COMPRESSED} in CDR, with a definition of ROS 2"
            )
        translate = self._image if kind == IMAGE else self._compressed
        self._photos[channel.id] = self._register(channel, self._photo_topic), decode, translate

    def _add_message(self, message: Message) -> None:
        if message.channel_id not in self._channel_ids:
            raise _DamagedError("a message has no channel")
        photo = None
        if message.channel_id in self._photos:
            photo = self._translate(message)
            self.images += 1
        self._write(message, self._channel_ids[message.channel_id], message.data)
        if photo is not None:
            self._write(message, self._photos[message.channel_id][0], photo)
        self.messages += 1

    def _write(self, message: Message, channel_id: int, data: bytes) -> None:
        """Write data with the times of a message."""
        self._writer.add_message(
            channel_id=channel_id,
            log_time=message.log_time,
            data=data,
            publish_time=message.publish_time,
            sequence=message.sequence,
        )

    def _translate(self, message: Message) -> bytes:
        _, decode, translate = self._photos[message.channel_id]
        try:
            labels = decode(message.data)
        except _DAMAGE as error:
            raise _DamagedError(f"an image cannot be decoded, {error}") from error
        try:
            return translate(labels)
        except ContractError as error:
            raise ContractError(f"{self._topic}, image {self.images + 1}: {error}") from error

    def _image(self, labels: Any) -> bytes:
        photo = self._translation.image(labels)
        cdr = _Cdr(photo["header"])
        cdr.number(photo["height"])
        cdr.number(photo["width"])
        cdr.text(photo["encoding"])
        cdr.content.append(photo["is_bigendian"])
        cdr.number(photo["step"])
        return cdr.ended_by(photo["data"].tobytes())

    def _compressed(self, labels: Any) -> bytes:
        photo = self._translation.compressed(labels)
        cdr = _Cdr(photo["header"])
        cdr.text(photo["format"])
        return cdr.ended_by(photo["data"].tobytes())


class _Cdr:
    """Writes a message as ROS 2 does: CDR of the first version, little-endian.

    mcap_ros2 has no public encoder that keeps the metadata of channels.
    """

    def __init__(self, header: Any) -> None:
        self.content = bytearray(b"\x00\x01\x00\x00")
        for number in (header.stamp.sec, header.stamp.nanosec):
            self.number(number & 0xFFFFFFFF)  # seconds are signed
        self.text(header.frame_id)

    def number(self, value: int) -> None:
        """Write four bytes, at a multiple of four."""
        self.content += bytes(-len(self.content) % 4) + struct.pack("<I", value)

    def text(self, value: str) -> None:
        """Write a string with its length, and its zero byte."""
        encoded = value.encode() + b"\0"
        self.number(len(encoded))
        self.content += encoded

    def ended_by(self, data: bytes) -> bytes:
        """Return the message, which ends with a sequence of bytes."""
        self.number(len(data))
        return bytes(self.content) + data
