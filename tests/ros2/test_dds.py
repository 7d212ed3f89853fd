"""Messages of ROS 2's own wire format, over DDS between two processes on the loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cyclonedds", reason="needs cyclonedds, which has wheels for few machines")

from dds_images import Header, Image, Link, Time
from p2p_runtime import Translator
from ros_images import image_of, pixels_in
from toy_runtime import label_frame

COUNT = 90


def message_of(index: int) -> Image:
    """Return the labels of a frame, in turn in BGR and RGB, with rows of several lengths."""
    frame, encoding = label_frame(index), ("bgr8", "rgb8")[index % 2]
    made = image_of(frame if encoding == "bgr8" else frame[..., ::-1], encoding, index, index % 4)
    stamp = Time(made.header.stamp.sec, made.header.stamp.nanosec)
    return Image(**vars(made) | {"header": Header(stamp, f"camera {index % 7}")})


def test_ninety_of_ninety_images_come_back_with_their_stamps(bundle: Path) -> None:
    """None is lost or doubled; each photo has its labels' stamp and frame_id, and all pixels."""
    domain, prefix = os.getpid() % 200 + 1, f"rt/p2p_{os.getpid()}"
    script = Path(sys.modules["dds_images"].__file__ or "")
    link = Link(domain, f"{prefix}/labels", f"{prefix}/photo")
    words = [sys.executable, script, bundle, domain, prefix, COUNT]
    with subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True) as other:
        try:
            link.wait()
            sent = [message_of(index) for index in range(COUNT)]
            for message in sent:
                link.send(message)
            photos = list(link.received(COUNT))
            link.send(sent[0])
            assert other.wait(60) == 0
        finally:
            other.kill()
    assert [photo.header for photo in photos] == [message.header for message in sent]
    with Translator.load(bundle) as translator:
        for index, photo in enumerate(photos):
            np.testing.assert_array_equal(pixels_in(photo), translator(label_frame(index)))
